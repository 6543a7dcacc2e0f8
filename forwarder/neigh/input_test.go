package neigh

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/internal/nstest"
)

// datagramOf is a frame of which Admits looks at the addresses.
func datagramOf(src, dst string) *frame.Frame {
	f := &frame.Frame{}
	f.Info.EtherType = frame.EtherIPv4
	if ip(dst).Is6() {
		f.Info.EtherType = frame.EtherIPv6
	}
	f.Flow.SetSrc(ip(src))
	f.Flow.SetDst(ip(dst))
	return f
}

// guarded is twoLinks with more of what a host has, and switches for eth0.
func guarded(in inputs, extra ...route) *fakeKernel {
	k := twoLinks()
	all := via("10.0.0.255/32", eth0, "")
	all.table, all.kind = unix.RT_TABLE_LOCAL, unix.RTN_BROADCAST
	home := via("127.0.0.0/8", lo, "")
	home.table, home.kind = unix.RT_TABLE_LOCAL, unix.RTN_LOCAL
	hole := via("198.18.0.0/24", lo, "")
	hole.kind = unix.RTN_BLACKHOLE
	k.state.routes = append(append(k.state.routes, all, home, hole), extra...)
	k.state.inputs = map[int]inputs{eth0: in}
	return k
}

func TestAdmits(t *testing.T) {
	strict, loose := inputs{rpFilter: 1}, inputs{rpFilter: 2}
	several := via("172.20.0.0/16", 0, "")
	several.hops = []nexthop{{link: eth1, gateway: ip("10.1.0.9"), weight: 1}, {link: eth0, gateway: ip("10.0.0.9"), weight: 1}}
	for _, c := range []struct {
		name     string
		in       inputs
		src, dst string
		want     frame.Verdict
	}{
		{"a client", inputs{}, "172.16.0.9", "10.0.0.2", frame.Continue},
		{"a client of class E", inputs{}, "240.0.0.1", "10.0.0.2", frame.Continue},
		{"the host's address of this side", inputs{}, "10.0.0.2", "10.0.0.2", frame.DropMartianSource},
		{"and of the other", inputs{}, "10.1.0.2", "10.0.0.2", frame.DropMartianSource},
		{"the host's address with accept_local", inputs{acceptLocal: true}, "10.1.0.2", "10.0.0.2", frame.Continue},
		{"an address of the director", inputs{}, "10.0.0.100", "10.0.0.2", frame.DropMartianSource},
		{"with accept_local", inputs{acceptLocal: true}, "10.0.0.100", "10.0.0.2", frame.Continue},
		{"loopback", inputs{}, "127.0.0.1", "10.0.0.2", frame.DropMartianSource},
		{"loopback is no client though it is routed", inputs{routeLocalnet: true, acceptLocal: true}, "127.0.0.1", "10.0.0.2", frame.DropMartianSource},
		{"to loopback", inputs{}, "172.16.0.9", "127.0.0.1", frame.DropMartianDestination},
		{"to loopback where it is routed", inputs{routeLocalnet: true}, "172.16.0.9", "127.0.0.1", frame.Continue},
		{"no address", inputs{}, "0.0.0.0", "10.0.0.2", frame.DropMartianSource},
		{"to no address", inputs{}, "172.16.0.9", "0.0.0.0", frame.DropMartianDestination},
		{"a group", inputs{}, "224.0.0.1", "10.0.0.2", frame.DropMartianSource},
		{"all hosts", inputs{acceptLocal: true}, "255.255.255.255", "10.0.0.2", frame.DropMartianSource},
		{"all hosts of a network", inputs{acceptLocal: true}, "10.0.0.255", "10.0.0.2", frame.DropMartianSource},
		{"nowhere to answer to", inputs{}, "198.18.0.1", "10.0.0.2", frame.Continue},
		{"another side's network", inputs{}, "10.1.0.77", "10.0.0.2", frame.Continue},

		{"strict: by the default route", strict, "172.16.0.9", "10.0.0.2", frame.Continue},
		{"strict: a neighbour", strict, "10.0.0.77", "10.0.0.2", frame.Continue},
		{"strict: another side's network", strict, "10.1.0.77", "10.0.0.2", frame.DropRPFilter},
		{"strict: nowhere to answer to", strict, "198.18.0.1", "10.0.0.2", frame.DropRPFilter},
		{"strict: one of several ways back", strict, "172.20.0.9", "10.0.0.2", frame.Continue},
		{"strict: the host's address is a martian", strict, "10.0.0.2", "10.0.0.2", frame.DropMartianSource},
		{"loose: another side's network", loose, "10.1.0.77", "10.0.0.2", frame.Continue},
		{"loose: nowhere to answer to", loose, "198.18.0.1", "10.0.0.2", frame.DropRPFilter},

		{"IPv6: a client", strict, "fd00:c::9", "fd00::2", frame.Continue},
		{"IPv6: the host's address passes there", inputs{}, "fd00::2", "fd00::2", frame.Continue},
		{"IPv6: no address", inputs{}, "::", "fd00::2", frame.Continue},
		{"IPv6: loopback", inputs{}, "::1", "fd00::2", frame.DropMartianSource},
		{"IPv6: to loopback", inputs{}, "fd00:c::9", "::1", frame.DropMartianDestination},
		{"IPv6: a group", inputs{}, "ff02::1", "fd00::2", frame.DropMartianSource},
		{"IPv6: an IPv4-mapped address", inputs{}, "::ffff:10.0.0.9", "fd00::2", frame.DropMartianSource},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := still(t, guarded(c.in, several), Config{})
			b.SetOwned([]netip.Addr{ip("10.0.0.100")})
			if v := b.Admits(datagramOf(c.src, c.dst), eth0); v != c.want {
				t.Errorf("from %s to %s: %v, want %v", c.src, c.dst, v, c.want)
			}
		})
	}
}

func TestAdmitsByRules(t *testing.T) {
	k := guarded(inputs{rpFilter: 1})
	k.state.routes = append(k.state.routes, route{table: 100, dst: netip.MustParsePrefix("0.0.0.0/0"), kind: unix.RTN_UNICAST,
		hops: []nexthop{{link: eth1, gateway: ip("10.1.0.1"), weight: 1}}})
	k.state.rules = append([]rule{k.state.rules[0], {priority: 50, action: unix.FR_ACT_TO_TBL, table: 100, suppress: -1,
		src: netip.MustParsePrefix("10.0.0.100/32")}}, k.state.rules[1:]...)
	b := still(t, k, Config{})
	if v := b.Admits(datagramOf("172.16.0.9", "10.0.0.100"), eth0); v != frame.DropRPFilter {
		t.Errorf("what answers from an address leaves by another interface: %v", v)
	}
	if v := b.Admits(datagramOf("172.16.0.9", "10.0.0.2"), eth0); v != frame.Continue {
		t.Errorf("other addresses answer by the default route: %v", v)
	}
}

func TestAnOpaqueRuleIsTheKernelsToJudge(t *testing.T) {
	k := guarded(inputs{rpFilter: 1})
	k.state.rules = append(k.state.rules, rule{priority: 60, opaque: true, action: unix.FR_ACT_TO_TBL, table: 254, suppress: -1})
	b := still(t, k, Config{})
	for err, want := range map[error]frame.Verdict{
		nil: frame.Continue, unix.EXDEV: frame.DropRPFilter, unix.EINVAL: frame.DropMartianSource, unix.EHOSTUNREACH: frame.Continue,
	} {
		k.verdict = err
		if v := b.Admits(datagramOf("172.16.0.9", "10.0.0.2"), eth0); v != want {
			t.Errorf("the kernel says %v: %v, want %v", err, v, want)
		}
	}
}

func TestSwitchesAreFollowed(t *testing.T) {
	k := guarded(inputs{})
	run(t, Config{}, k, func(b *bench) {
		spoofed := datagramOf("10.1.0.77", "10.0.0.2")
		if v := b.Admits(spoofed, eth0); v != frame.Continue {
			t.Fatalf("%v, want it admitted", v)
		}
		before := b.Generation()
		k.mu.Lock()
		k.state.inputs = map[int]inputs{eth0: {rpFilter: 1, sourceRoute: true}}
		k.mu.Unlock()
		wait(2 * inputsEvery)
		if v := b.Admits(spoofed, eth0); v != frame.DropRPFilter || !b.SourceRouted(eth0) {
			t.Errorf("after the change %v, source routes %v", v, b.SourceRouted(eth0))
		}
		if b.Generation() == before {
			t.Error("workers are not told to ask again")
		}
	})
}

// TestAdmitsAsTheKernel asks the kernel about the same packets, with a route of
// the host's own kind that makes it look at the routes in any case.
func TestAdmitsAsTheKernel(t *testing.T) {
	n, peer := nstest.NewNode(t), nstest.NewNode(t)
	n.Connect("a0", peer, "a1")
	n.Connect("b0", peer, "b1")
	n.Addr("a0", "10.0.0.2/24")
	n.Addr("b0", "10.1.0.2/24")
	n.Addr("lo", "10.7.0.1/32")
	n.Sysctl("net/ipv4/ip_forward", "1")
	n.Route("172.16.0.0/12", "10.0.0.9")
	n.Do(addOddRoutes)
	d := direct(t, n, Config{AnnounceEvery: -1})
	var link int
	for _, l := range d.Links() {
		if l.Name == "a0" {
			link = l.Index
		}
	}
	sources := strings.Fields(`172.16.0.9 172.20.0.9 172.21.0.9 127.0.0.1 127.0.0.5 10.0.0.2 10.1.0.2 10.7.0.1 10.8.0.1 10.8.0.7 0.0.0.0 0.1.2.3
		224.0.0.1 255.255.255.255 10.0.0.255 10.0.0.0 10.1.0.255 240.0.0.1 255.255.255.254 10.0.0.77 10.1.0.77 192.0.2.1 198.18.0.1 198.18.1.1 198.18.2.1`)
	for _, set := range []string{
		"", "a0/rp_filter=1", "a0/rp_filter=2", "all/rp_filter=1", "all/rp_filter=2 a0/rp_filter=1",
		"a0/accept_local=1", "all/accept_local=1", "a0/accept_local=1 a0/rp_filter=1", "a0/route_localnet=1", "all/route_localnet=1 all/accept_local=1",
	} {
		for _, s := range strings.Fields("all/rp_filter=0 all/accept_local=0 all/route_localnet=0 a0/rp_filter=0 a0/accept_local=0 a0/route_localnet=0 " + set) {
			name, value, _ := strings.Cut(s, "=")
			n.Sysctl("net/ipv4/conf/"+name, value)
		}
		want := func() (in inputs) {
			n.Do(func() error {
				all, err := d.kernel.inputs()
				in = all[link]
				return err
			})
			return in
		}()
		nstest.Eventually(t, "following the switches "+set, func() bool { return d.view.Load().inputs[link] == want })
		for _, src := range sources {
			for _, dst := range []string{"10.0.0.2", "10.8.0.7", "10.1.0.77", "127.0.0.1"} {
				if want.acceptLocal && strings.HasSuffix(src, ".255") {
					continue // the kernel does not look at the routes then; a broadcast address is no source for us
				}
				if want.routeLocalnet && strings.HasPrefix(src, "127.") {
					continue // IPVS drops what the kernel takes in from there
				}
				kernel := d.kernel.admits(ip(src), ip(dst), link) == nil
				if v := d.Admits(datagramOf(src, dst), link); (v == frame.Continue) != kernel {
					t.Errorf("[%s] from %s to %s: %v, but the kernel takes it in: %v", set, src, dst, v, kernel)
				}
			}
		}
	}
}

// addOddRoutes adds routes by several ways, to nowhere and of a table that only
// the host's address 10.8.0.7 looks into.
func addOddRoutes() error {
	to := func(dst string) *net.IPNet {
		_, n, _ := net.ParseCIDR(dst)
		return n
	}
	paths := func(gateways ...string) (all []*netlink.NexthopInfo) {
		for _, g := range gateways {
			all = append(all, &netlink.NexthopInfo{Gw: net.ParseIP(g)})
		}
		return all
	}
	home, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	for _, r := range []netlink.Route{
		{Dst: to("172.20.0.0/16"), MultiPath: paths("10.1.0.9", "10.0.0.9")},
		{Dst: to("172.21.0.0/16"), MultiPath: paths("10.1.0.8", "10.1.0.9")},
		{Dst: to("198.18.0.0/24"), Type: unix.RTN_BLACKHOLE},
		{Dst: to("198.18.1.0/24"), Type: unix.RTN_UNREACHABLE},
		{Dst: to("198.18.2.0/24"), Type: unix.RTN_THROW},
		{Dst: to("10.8.0.0/24"), Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, LinkIndex: home.Attrs().Index, Scope: netlink.SCOPE_HOST},
		{Dst: to("172.16.0.0/12"), Gw: net.ParseIP("10.1.0.9"), Table: 77},
	} {
		if err := netlink.RouteAdd(&r); err != nil {
			return fmt.Errorf("route %v: %w", r.Dst, err)
		}
	}
	rule := netlink.NewRule()
	rule.Src, rule.Table = to("10.8.0.7/32"), 77
	return netlink.RuleAdd(rule)
}

func BenchmarkAdmits(b *testing.B) {
	for _, in := range []inputs{{}, {rpFilter: 1}} {
		b.Run(fmt.Sprintf("rp_filter=%d", in.rpFilter), func(b *testing.B) {
			t := still(b, guarded(in), Config{})
			f := datagramOf("172.16.0.9", "10.0.0.2")
			for b.Loop() {
				t.Admits(f, eth0)
			}
		})
	}
}

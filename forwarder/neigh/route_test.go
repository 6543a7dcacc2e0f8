package neigh

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"uvs/forwarder/frame"
)

// way is what a route table test compares.
type found struct {
	link    int
	gateway string
	mtu     int
	source  string
	local   bool
}

func (b *bench) way(addr string) (f found, ok bool) {
	h, v := b.Lookup(ip(addr))
	if v != frame.Continue {
		return f, false
	}
	f = found{h.Link, "", h.MTU, "", h.Local}
	if h.Gateway.IsValid() {
		f.gateway = h.Gateway.String()
	}
	if h.Source.IsValid() {
		f.source = h.Source.String()
	}
	return f, true
}

func TestTheWayToAnAddress(t *testing.T) {
	multi := via("10.20.0.0/16", 0, "")
	multi.hops = []nexthop{
		{link: eth0, gateway: ip("10.0.0.3"), weight: 1},
		{link: eth1, gateway: ip("10.1.0.3"), weight: 1, dead: true},
	}
	special := func(kind int, dst string) route {
		r := via(dst, lo, "")
		r.kind = kind
		return r
	}
	with := func(r route, f func(*route)) route { f(&r); return r }
	for _, c := range []struct {
		name  string
		extra []route
		rules []rule
		addr  string
		want  found
		none  bool
	}{
		{name: "on the link", addr: "10.0.0.9", want: found{eth0, "", 1500, "10.0.0.2", false}},
		{name: "on the other", addr: "10.1.0.9", want: found{eth1, "", 9000, "10.1.0.2", false}},
		{name: "by the default route", addr: "8.8.8.8", want: found{eth0, "10.0.0.1", 1500, "10.0.0.2", false}},
		{name: "by a link-local router", addr: "2001:db8::1", want: found{eth0, "fe80::1", 1500, "fd00::2", false}},
		{name: "the host itself, by its loopback", addr: "10.1.0.2", want: found{lo, "", 65536, "10.1.0.2", true}},
		{name: "a mapped address is IPv4", addr: "::ffff:10.0.0.9", want: found{eth0, "", 1500, "10.0.0.2", false}},
		{name: "the longest prefix wins", extra: []route{via("8.8.0.0/16", eth1, "10.1.0.1"), via("8.8.8.0/24", eth1, "10.1.0.7")},
			addr: "8.8.8.8", want: found{eth1, "10.1.0.7", 9000, "10.1.0.2", false}},
		{name: "then the lowest metric", extra: []route{
			with(via("8.8.8.0/24", eth1, "10.1.0.7"), func(r *route) { r.metric = 20 }),
			with(via("8.8.8.0/24", eth1, "10.1.0.5"), func(r *route) { r.metric = 10 })},
			addr: "8.8.8.8", want: found{eth1, "10.1.0.5", 9000, "10.1.0.2", false}},
		{name: "unless its next hop is dead", extra: []route{
			with(via("8.8.8.0/24", eth1, "10.1.0.7"), func(r *route) { r.metric = 20 }),
			with(via("8.8.8.0/24", eth1, "10.1.0.5"), func(r *route) { r.metric = 10; r.hops[0].dead = true })},
			addr: "8.8.8.8", want: found{eth1, "10.1.0.7", 9000, "10.1.0.2", false}},
		{name: "a dead next hop of several is not used", extra: []route{multi}, addr: "10.20.3.4",
			want: found{eth0, "10.0.0.3", 1500, "10.0.0.2", false}},
		{name: "a route's MTU counts", extra: []route{with(via("8.0.0.0/8", eth0, "10.0.0.1"), func(r *route) { r.mtu = 1400 })},
			addr: "8.8.8.8", want: found{eth0, "10.0.0.1", 1400, "10.0.0.2", false}},
		{name: "but not beyond the link's", extra: []route{with(via("8.0.0.0/8", eth0, "10.0.0.1"), func(r *route) { r.mtu = 9000 })},
			addr: "8.8.8.8", want: found{eth0, "10.0.0.1", 1500, "10.0.0.2", false}},
		{name: "and its source", extra: []route{with(via("8.0.0.0/8", eth0, "10.0.0.1"), func(r *route) { r.source = ip("10.1.0.2") })},
			addr: "8.8.8.8", want: found{eth0, "10.0.0.1", 1500, "10.1.0.2", false}},
		{name: "an IPv6 router for IPv4", extra: []route{via("8.0.0.0/8", eth1, "fe80::7")}, addr: "8.8.8.8",
			want: found{eth1, "fe80::7", 9000, "10.1.0.2", false}},
		{name: "a link without neighbours", extra: []route{via("8.0.0.0/8", tun0, "")}, addr: "8.8.8.8",
			want: found{tun0, "", 1400, "10.0.0.2", false}},
		{name: "blackhole", extra: []route{special(unix.RTN_BLACKHOLE, "8.8.8.0/24")}, addr: "8.8.8.8", none: true},
		{name: "unreachable", extra: []route{special(unix.RTN_UNREACHABLE, "8.8.8.0/24")}, addr: "8.8.8.8", none: true},
		{name: "broadcast", extra: []route{special(unix.RTN_BROADCAST, "10.0.0.255/32")}, addr: "10.0.0.255", none: true},
		{name: "throw goes on with the next rule", extra: []route{special(unix.RTN_THROW, "8.8.8.0/24"),
			with(via("0.0.0.0/0", eth1, "10.1.0.1"), func(r *route) { r.table = unix.RT_TABLE_DEFAULT })},
			addr: "8.8.8.8", want: found{eth1, "10.1.0.1", 9000, "10.1.0.2", false}},
		{name: "a rule for a destination", rules: []rule{{priority: 100, action: unix.FR_ACT_TO_TBL, table: 77, dst: netip.MustParsePrefix("8.0.0.0/8"), suppress: -1}},
			extra: []route{with(via("0.0.0.0/0", eth1, "10.1.0.1"), func(r *route) { r.table = 77 })},
			addr:  "8.8.8.8", want: found{eth1, "10.1.0.1", 9000, "10.1.0.2", false}},
		{name: "is not for others", rules: []rule{{priority: 100, action: unix.FR_ACT_TO_TBL, table: 77, dst: netip.MustParsePrefix("8.0.0.0/8"), suppress: -1}},
			extra: []route{with(via("0.0.0.0/0", eth1, "10.1.0.1"), func(r *route) { r.table = 77 })},
			addr:  "9.9.9.9", want: found{eth0, "10.0.0.1", 1500, "10.0.0.2", false}},
		{name: "a rule for marked packets is not for ours", rules: []rule{{priority: 100, action: unix.FR_ACT_BLACKHOLE, never: true, suppress: -1}},
			addr: "8.8.8.8", want: found{eth0, "10.0.0.1", 1500, "10.0.0.2", false}},
		{name: "a rule that prohibits", rules: []rule{{priority: 100, action: unix.FR_ACT_PROHIBIT, suppress: -1}}, addr: "8.8.8.8", none: true},
		{name: "a rule that suppresses the default route", rules: []rule{{priority: 100, action: unix.FR_ACT_TO_TBL, table: unix.RT_TABLE_MAIN, suppress: 0},
			{priority: 200, action: unix.FR_ACT_TO_TBL, table: 77, suppress: -1}},
			extra: []route{with(via("0.0.0.0/0", eth1, "10.1.0.1"), func(r *route) { r.table = 77 })},
			addr:  "8.8.8.8", want: found{eth1, "10.1.0.1", 9000, "10.1.0.2", false}},
		{name: "goto skips rules", rules: []rule{{priority: 100, action: unix.FR_ACT_GOTO, target: 32766, suppress: -1}, {priority: 200, action: unix.FR_ACT_BLACKHOLE, suppress: -1}},
			addr: "8.8.8.8", want: found{eth0, "10.0.0.1", 1500, "10.0.0.2", false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := twoLinks()
			k.state.routes = append(k.state.routes, c.extra...)
			k.state.rules = append(k.state.rules, c.rules...)
			slices.SortStableFunc(k.state.rules, func(a, b rule) int { return int(a.priority) - int(b.priority) })
			got, ok := still(t, k, Config{}).way(c.addr)
			if ok == c.none || got != c.want {
				t.Errorf("%+v %v, want %+v", got, ok, c.want)
			}
		})
	}
}

func TestSeveralNextHopsShareByWeight(t *testing.T) {
	k := twoLinks()
	r := via("20.0.0.0/8", 0, "")
	r.hops = []nexthop{{link: eth0, gateway: ip("10.0.0.3"), weight: 3}, {link: eth1, gateway: ip("10.1.0.3"), weight: 1}}
	k.state.routes = append(k.state.routes, r)
	b := still(t, k, Config{})
	count := map[string]int{}
	for i := range 4000 {
		w, _ := b.way(netip.AddrFrom4([4]byte{20, 1, byte(i >> 8), byte(i)}).String())
		count[w.gateway]++
	}
	if n := count["10.0.0.3"]; n < 2850 || n > 3150 {
		t.Errorf("%v, want 3:1", count)
	}
}

func TestWithAnOpaqueRuleTheKernelIsAskedOncePerAddress(t *testing.T) {
	k := twoLinks()
	k.state.rules = append(k.state.rules, rule{priority: 1, opaque: true})
	k.asked = map[netip.Addr]route{ip("8.8.8.8"): via("8.8.8.8/32", eth1, "10.1.0.1"), ip("8.8.4.4"): via("8.8.4.4/32", eth1, "10.1.0.1")}
	b := still(t, k, Config{})
	want := found{eth1, "10.1.0.1", 9000, "10.1.0.2", false}
	for _, addr := range []string{"8.8.8.8", "8.8.4.4", "8.8.8.8"} {
		if got, _ := b.way(addr); got != want {
			t.Errorf("%s: %+v, want %+v", addr, got, want)
		}
	}
	if _, ok := b.way("9.9.9.9"); ok {
		t.Error("the kernel has no route to 9.9.9.9, the director has")
	}
	a := ip("8.8.8.8")
	if n := testing.AllocsPerRun(100, func() { b.Lookup(a) }); n != 0 {
		t.Errorf("%v allocations for an answer that is kept", n)
	}
}

func TestAChangedRouteIsFollowed(t *testing.T) {
	k := twoLinks()
	run(t, Config{}, k, func(b *bench) {
		if w, _ := b.way("8.8.8.8"); w.gateway != "10.0.0.1" {
			t.Fatalf("%+v", w)
		}
		gen := b.Generation()
		k.change(func(s *state) { s.routes = append(s.routes, via("8.0.0.0/8", eth1, "10.1.0.1")) })
		wait(100 * time.Millisecond)
		if w, _ := b.way("8.8.8.8"); w.gateway != "10.1.0.1" || b.Generation() == gen {
			t.Errorf("%+v", w)
		}
		// The Hop to a known neighbour outlives a change that does not concern it.
		b.arrive(eth0, says("10.0.0.9", macPeer))
		h := b.lookup("10.0.0.9")
		k.change(func(s *state) { s.routes = append(s.routes, via("9.0.0.0/8", eth1, "10.1.0.1")) })
		wait(100 * time.Millisecond)
		if b.lookup("10.0.0.9") != h {
			t.Error("an unrelated change replaced the Hop")
		}
	})
}

func TestLongestMatchAgreesWithASearchOfAllRoutes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := rapid.Custom(func(t *rapid.T) netip.Addr {
			return netip.AddrFrom4([4]byte{10, byte(rapid.IntRange(0, 3).Draw(t, "b")), byte(rapid.IntRange(0, 3).Draw(t, "c")), rapid.Byte().Draw(t, "d")})
		})
		var p prefixes
		var all []*route
		for i := range rapid.IntRange(1, 30).Draw(t, "routes") {
			dst, _ := addr.Draw(t, "dst").Prefix(rapid.IntRange(0, 32).Draw(t, "bits"))
			r := &route{dst: dst, metric: rapid.IntRange(0, 3).Draw(t, "metric"), mtu: i}
			p.add(r)
			all = append(all, r)
		}
		a := addr.Draw(t, "addr")
		var got, want []*route
		p.find(a, func(r *route) bool { got = append(got, r); return false })
		for _, r := range all {
			if r.dst.Contains(a) {
				want = append(want, r)
			}
		}
		slices.SortStableFunc(want, func(x, y *route) int {
			if x.dst.Bits() != y.dst.Bits() {
				return y.dst.Bits() - x.dst.Bits()
			}
			return x.metric - y.metric
		})
		if !slices.Equal(got, want) {
			t.Fatalf("%d routes, want %d", len(got), len(want))
		}
	})
}

func TestARouteChangeIsInUseWithinFiveMilliseconds(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		narrow := func(mtu int) {
			b.kernel.changeRoutes(func(s *state) {
				r := via("20.0.0.0/8", eth0, "10.0.0.1")
				r.mtu = mtu
				s.routes = append(slices.DeleteFunc(s.routes, func(old route) bool { return old.dst == r.dst }), r)
			})
		}
		wait(time.Hour)
		narrow(1300)
		synctest.Wait()
		if h := b.lookup("20.0.0.1"); h.MTU != 1300 {
			t.Errorf("a change after quiet times: MTU %d at once", h.MTU)
		}
		gen := b.Generation()
		for mtu := 1200; mtu > 1000; mtu-- { // a storm: each is in use soon, and not each is read by itself
			narrow(mtu)
			wait(100 * time.Microsecond)
		}
		wait(5*time.Millisecond - 100*time.Microsecond)
		if h := b.lookup("20.0.0.1"); h.MTU != 1001 {
			t.Errorf("after a storm: MTU %d after 5 ms", h.MTU)
		}
		if n := b.Generation() - gen; n < 4 || n > 20 {
			t.Errorf("200 changes in 20 ms were read in %d readings", n)
		}
	})
}

package neigh

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/internal/nstest"
)

// find waits until the MAC address of addr is known.
func find(tb testing.TB, d *director, addr string) *Hop {
	tb.Helper()
	var h *Hop
	nstest.Eventually(tb, addr+" is found", func() bool {
		var v frame.Verdict
		h, v = d.Lookup(ip(addr))
		return v == frame.Continue && h.Resolved
	})
	return h
}

func TestAVirtualAddressThatMovesToTheDirectorTakesItsClientsAlong(t *testing.T) {
	client, host := pair(t)
	for _, vip := range []string{"10.0.0.100", "fd00::100"} {
		// The client talks to another owner of the address until now.
		client.Link("c0", func(l netlink.Link) error {
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, IP: net.ParseIP(vip),
				HardwareAddr: hw(macNew), State: netlink.NUD_STALE})
		})
	}
	d := direct(t, host, Config{})
	d.SetOwned([]netip.Addr{ip("10.0.0.100"), ip("fd00::100")})
	for _, vip := range []string{"10.0.0.100", "fd00::100"} {
		nstest.Eventually(t, "the announcement moves "+vip, func() bool {
			mac, _ := neighbourOf(client, vip)
			return mac == host.MAC("d0")
		})
	}
}

func TestANeighboursNewMACAddressIsLearned(t *testing.T) {
	client, host := pair(t)
	d := direct(t, host, Config{})
	old := find(t, d, "10.0.0.9").DstMAC
	client.Sysctl("net/ipv4/conf/c0/arp_notify", "1")
	nstest.Eventually(t, "the new address is used", func() bool {
		// A claim within a second of an answer is not believed: say it again.
		client.Link("c0", netlink.LinkSetDown)
		client.Link("c0", func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, hw(macNew)) })
		client.Link("c0", netlink.LinkSetUp)
		h, _ := d.Lookup(ip("10.0.0.9"))
		return h != nil && h.DstMAC == macNew && h.DstMAC != old
	})
}

func TestAWaitingDatagramIsDelivered(t *testing.T) {
	client, host := pair(t)
	d := direct(t, host, Config{})
	var c *net.UDPConn
	client.Do(func() (err error) {
		c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(10, 0, 0, 9), Port: 4000})
		return err
	})
	defer c.Close()
	h, _ := d.Lookup(ip("10.0.0.9"))
	f := copied(frametest.Packet{SrcMAC: macEth1, DstMAC: macEth0, Src: "10.0.0.2:4001", Dst: "10.0.0.9:4000", Transport: &layers.UDP{}, Data: "hello"}.Bytes())
	if v := d.Queue(h, &f); v != frame.Queued {
		t.Fatalf("Queue answers %v", v)
	}
	buf := make([]byte, 100)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "hello" || from != netip.MustParseAddrPort("10.0.0.2:4001") {
		t.Errorf("%q from %v: %v", buf[:n], from, err)
	}
}

func TestTheKernelsTablesAreFollowed(t *testing.T) {
	client, host := pair(t)
	d := direct(t, host, Config{})
	index := func() (i int) {
		host.Link("d0", func(l netlink.Link) error { i = l.Attrs().Index; return nil })
		return i
	}()
	host.Link("d0", func(l netlink.Link) error {
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: index, IP: net.IPv4(10, 0, 0, 1), HardwareAddr: hw(macPeer), State: netlink.NUD_PERMANENT})
	})
	if h := find(t, d, "10.0.0.1"); h.DstMAC != macPeer {
		t.Errorf("the permanent entry is not used: %+v", h)
	}

	if _, v := d.Lookup(ip("8.8.8.8")); v != frame.DropNoRoute {
		t.Errorf("without a route: %v", v)
	}
	for _, gateway := range []string{"10.0.0.1", "10.0.0.9"} {
		gen := d.Generation()
		host.Route("8.0.0.0/8", gateway)
		nstest.Eventually(t, "the way is by "+gateway, func() bool {
			h, _ := d.Lookup(ip("8.8.8.8"))
			return h != nil && h.Gateway == ip(gateway)
		})
		if d.Generation() == gen {
			t.Errorf("the generation is the same with the way by %s", gateway)
		}
	}
	if h := find(t, d, "8.8.8.8"); h.DstMAC != client.MAC("c0") {
		t.Errorf("%+v", h)
	}

	if d.LocalAddr(ip("10.0.0.100")) || !d.LocalAddr(ip("10.0.0.2")) || !d.LocalAddr(ip("127.0.0.1")) {
		t.Error("LocalAddr is wrong at the start")
	}
	host.Addr("d0", "10.0.0.100/32")
	nstest.Eventually(t, "the new address is local", func() bool { return d.LocalAddr(ip("10.0.0.100")) })

	for name, is6 := range map[string]bool{"net/ipv4/ip_forward": false, "net/ipv6/conf/all/forwarding": true} {
		for _, on := range []bool{true, false} {
			host.Sysctl(name, map[bool]string{true: "1", false: "0"}[on])
			nstest.Eventually(t, fmt.Sprintf("%s is %v", name, on), func() bool { return d.Forwarding(is6) == on })
		}
	}
}

func TestLinksAreThoseADirectorWorksOn(t *testing.T) {
	client, host := nstest.NewNode(t), nstest.NewNode(t)
	d := direct(t, host, Config{})
	if n := len(d.Links()); n != 0 {
		t.Fatalf("%d links in an empty namespace", n)
	}
	named := func(name string) *Link {
		for _, l := range d.Links() {
			if l.Name == name {
				return &l
			}
		}
		return nil
	}
	client.Connect("c0", host, "d0")
	nstest.Eventually(t, "d0 appears", func() bool { l := named("d0"); return l != nil && l.Running })
	if l := named("d0"); l.MAC != host.MAC("d0") || l.MTU != 1500 || l.Kind != "veth" {
		t.Errorf("%+v", l)
	}
	host.Link("d0", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1400) })
	nstest.Eventually(t, "its MTU changes", func() bool { return named("d0").MTU == 1400 })
	host.Link("d0", func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, hw(macNew)) })
	nstest.Eventually(t, "its MAC address changes", func() bool { return named("d0").MAC == macNew })
	host.Link("d0", netlink.LinkSetDown)
	nstest.Eventually(t, "it is gone when down", func() bool { return named("d0") == nil })
	host.Link("d0", func(l netlink.Link) error { return netlink.LinkSetName(l, "d1") })
	host.Up("d1")
	nstest.Eventually(t, "it is back by its new name", func() bool { return named("d1") != nil && named("d0") == nil })

	add := func(l netlink.Link) bool {
		err := host.Try(func() error {
			if err := netlink.LinkAdd(l); err != nil {
				return err
			}
			return netlink.LinkSetUp(l)
		})
		if err != nil {
			t.Logf("this kernel makes no %s: %v", l.Type(), err)
		}
		return err == nil
	}
	attrs := func(name string) netlink.LinkAttrs { a := netlink.NewLinkAttrs(); a.Name = name; return a }
	if br := (&netlink.Bridge{LinkAttrs: attrs("br0")}); add(br) {
		host.Link("d1", func(l netlink.Link) error { return netlink.LinkSetMaster(l, br) })
		nstest.Eventually(t, "the port is left to its bridge", func() bool { return named("d1") == nil && named("br0") != nil })
		host.Link("d1", netlink.LinkSetNoMaster)
		nstest.Eventually(t, "and is a link again without", func() bool { return named("d1") != nil })
	}
	if add(&netlink.Dummy{LinkAttrs: attrs("dummy0")}) {
		host.Link("d1", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1300) })
		nstest.Eventually(t, "later changes are seen", func() bool { return named("d1").MTU == 1300 })
		if named("dummy0") != nil {
			t.Error("a dummy interface is listed")
		}
	}
	host.Link("d1", netlink.LinkDel)
	nstest.Eventually(t, "a deleted link is gone", func() bool { return named("d1") == nil })
}

// TestTheWayAgreesWithTheKernels makes random routes and asks both.
func TestTheWayAgreesWithTheKernels(t *testing.T) {
	client, host := pair(t)
	client.Connect("c1", host, "d1")
	host.Addr("d1", "10.1.0.2/24")
	host.Addr("d1", "10.1.1.2/16")
	d := direct(t, host, Config{})
	random := rand.New(rand.NewPCG(1, 2))
	dst := func() netip.Addr {
		return netip.AddrFrom4([4]byte{20, byte(random.IntN(4)), byte(random.IntN(4)), byte(random.IntN(256))})
	}
	gateways := []string{"10.0.0.7", "10.0.0.8", "10.1.0.7", "10.1.9.9"}
	host.Do(func() error {
		for range 200 {
			p, _ := dst().Prefix(8 + random.IntN(25))
			r := &netlink.Route{
				Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}, Priority: random.IntN(3),
				Table: []int{unix.RT_TABLE_MAIN, 77}[random.IntN(2)],
			}
			switch random.IntN(8) {
			case 0:
				r.Type = unix.RTN_BLACKHOLE
			case 1:
				r.Type = unix.RTN_THROW
			case 2:
				r.MTU, r.Gw = 1300, net.ParseIP(gateways[0])
			case 3:
				r.Src, r.Gw = net.IPv4(10, 1, 0, 2), net.ParseIP(gateways[1])
			default:
				r.Gw = net.ParseIP(gateways[random.IntN(len(gateways))])
			}
			if err := netlink.RouteAdd(r); err != nil && err != unix.EEXIST {
				return err
			}
		}
		for i, to := range []string{"20.1.0.0/16", "20.2.0.0/15"} {
			r := netlink.NewRule()
			_, r.Dst, _ = net.ParseCIDR(to)
			r.Table, r.Priority, r.SuppressPrefixlen = 77, 100+i, 14+10*i
			if err := netlink.RuleAdd(r); err != nil {
				return err
			}
		}
		mark := netlink.NewRule()
		mark.Mark, mark.Table, mark.Priority = 5, 77, 10
		return netlink.RuleAdd(mark)
	})
	host.Addr("d0", "10.0.0.200/32") // the last change: all is read when this is
	nstest.Eventually(t, "the changes are read", func() bool { return d.LocalAddr(ip("10.0.0.200")) })
	if f := d.view.Load().fib4; f.opaque {
		t.Errorf("a rule is taken for opaque: %+v", f.rules)
	}
	differences := 0
	for range 2000 {
		a := dst()
		var want string
		host.Do(func() error {
			routes, err := netlink.RouteGet(a.AsSlice())
			if err == nil {
				want = fmt.Sprint(routes[0].LinkIndex, " ", routes[0].Gw, " ", routes[0].Src)
			}
			return nil
		})
		got := ""
		if h, v := d.Lookup(a); v == frame.Continue {
			got = fmt.Sprint(h.Link, " ", h.Gateway, " ", h.Source)
		}
		if got != want {
			t.Errorf("%v: %q, the kernel says %q", a, got, want)
			if differences++; differences > 5 {
				break
			}
		}
	}
}

func TestRulesOnlyTheKernelUnderstandsAreItsToAnswer(t *testing.T) {
	_, host := pair(t)
	d := direct(t, host, Config{})
	host.Route("0.0.0.0/0", "10.0.0.1")
	host.Do(func() error {
		r := netlink.NewRule()
		_, r.Dst, _ = net.ParseCIDR("20.0.0.0/8")
		r.Table, r.Priority, r.Invert = 77, 100, true
		if err := netlink.RuleAdd(r); err != nil {
			return err
		}
		_, dst, _ := net.ParseCIDR("0.0.0.0/0")
		return netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.IPv4(10, 0, 0, 9), Table: 77})
	})
	for addr, want := range map[string]string{"20.0.0.1": "10.0.0.1", "30.0.0.1": "10.0.0.9"} {
		nstest.Eventually(t, addr+" is by "+want, func() bool {
			h, _ := d.Lookup(ip(addr))
			return h != nil && h.Gateway == ip(want)
		})
	}
}

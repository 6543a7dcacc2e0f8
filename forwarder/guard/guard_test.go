package guard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/internal/nstest"
)

func TestMain(m *testing.M) {
	if os.Getenv("UVS_TEST_GUARD_CHILD") != "" {
		child()
	}
	os.Exit(nstest.Run(m))
}

func tuple(proto uint8, s string) Tuple {
	a := netip.MustParseAddrPort(s)
	return Tuple{proto, a.Addr(), a.Port()}
}

func newGuard(tb testing.TB, n *nstest.Node) *Guard {
	tb.Helper()
	var g *Guard
	n.Do(func() (err error) { g, err = New(nil); return err })
	tb.Cleanup(func() { g.Close() })
	return g
}

func set(n *nstest.Node, g *Guard, r Rules) {
	n.Do(func() error { return g.Set(r) })
}

// lan is a client, a director and a real server in one row:
//
//	client 10.0.0.9 ── 10.0.0.2 host 10.1.0.2 ── 10.1.0.11 server
//
// and the same in fd00:0::/64 and fd00:1::/64. The host forwards.
func lan(tb testing.TB) (client, host, server *nstest.Node) {
	tb.Helper()
	client, host, server = nstest.NewNode(tb), nstest.NewNode(tb), nstest.NewNode(tb)
	client.Connect("c0", host, "d0")
	host.Connect("d1", server, "s0")
	for _, a := range []struct {
		n    *nstest.Node
		link string
		addr string
	}{{client, "c0", "10.0.0.9/24"}, {host, "d0", "10.0.0.2/24"}, {host, "d1", "10.1.0.2/24"}, {server, "s0", "10.1.0.11/24"},
		{client, "c0", "fd00::9/64"}, {host, "d0", "fd00::2/64"}, {host, "d1", "fd00:1::2/64"}, {server, "s0", "fd00:1::11/64"}} {
		a.n.Addr(a.link, a.addr)
	}
	client.Route("0.0.0.0/0", "10.0.0.2")
	server.Route("0.0.0.0/0", "10.1.0.2")
	client.Route("::/0", "fd00::2")
	server.Route("::/0", "fd00:1::2")
	host.Sysctl("net/ipv4/ip_forward", "1")
	host.Sysctl("net/ipv6/conf/all/forwarding", "1")
	return client, host, server
}

// dial returns nil if addr accepts, "refused" or "silent".
func dial(n *nstest.Node, addr string) (answer string) {
	n.Do(func() error {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		switch {
		case err == nil:
			answer = "accepted"
			c.Close()
		case errors.Is(err, unix.ECONNREFUSED):
			answer = "refused"
		default:
			answer = "silent"
		}
		return nil
	})
	return answer
}

func listen(tb testing.TB, n *nstest.Node, addr string) {
	tb.Helper()
	n.Do(func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		tb.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		return nil
	})
}

func expect(tb testing.TB, n *nstest.Node, addr, want, because string) {
	tb.Helper()
	if got := dial(n, addr); got != want {
		tb.Errorf("%s is %s, want %s, because %s", addr, got, want, because)
	}
}

func TestAVirtualAddressOnTheHostDoesNotResetItsClients(t *testing.T) {
	client, host, _ := lan(t)
	host.Addr("d0", "10.0.0.100/32")
	host.Addr("d0", "fd00::100/128")
	g := newGuard(t, host)
	for _, vip := range []string{"10.0.0.100:80", "[fd00::100]:80"} {
		expect(t, client, vip, "refused", "nothing is guarded yet")
		r := Rules{Links: []string{"d0", "d1"}, Virtual: []Tuple{tuple(6, vip)}}
		set(host, g, r)
		expect(t, client, vip, "silent", "the service is guarded")
		expect(t, client, netip.AddrPortFrom(r.Virtual[0].Addr, 81).String(), "refused", "port 81 is the host's")
		r.Virtual[0].Port = 0
		set(host, g, r)
		expect(t, client, netip.AddrPortFrom(r.Virtual[0].Addr, 81).String(), "silent", "all ports are guarded")
		r.Virtual[0].Proto = 17
		set(host, g, r)
		expect(t, client, vip, "refused", "only UDP is guarded")
		r.Virtual[0].Proto = 0
		set(host, g, r)
		expect(t, client, vip, "silent", "the whole address is guarded")
		set(host, g, Rules{Links: r.Links})
		expect(t, client, vip, "refused", "the service is gone")
	}
}

func TestAServersRepliesAreNotForwardedButReachTheHostItself(t *testing.T) {
	client, host, server := lan(t)
	g := newGuard(t, host)
	for _, rs := range []string{"10.1.0.11:80", "[fd00:1::11]:80"} {
		listen(t, server, rs)
		expect(t, client, rs, "accepted", "the host is a router")
		set(host, g, Rules{Links: []string{"d0", "d1"}, Servers: []Tuple{tuple(6, rs)}})
		expect(t, client, rs, "silent", "the director forwards replies, not the host")
		expect(t, host, rs, "accepted", "the host's own health checks go on")
	}
}

func TestALocalAddressIsGuardedWhole(t *testing.T) {
	client, host, server := lan(t)
	g := newGuard(t, host)
	listen(t, host, "10.1.0.2:22")
	listen(t, server, "10.1.0.11:22")
	set(host, g, Rules{Links: []string{"d0", "d1"},
		Local:   []netip.Addr{netip.MustParseAddr("10.1.0.2"), netip.MustParseAddr("10.1.0.11")},
		Servers: []Tuple{tuple(6, "10.1.0.11:80")}})
	expect(t, client, "10.1.0.11:22", "silent", "all packets for a local address are the director's")
	expect(t, client, "10.1.0.2:22", "accepted", "the host's own address still serves")
}

// tap counts the packets a packet socket in the node sees that are to addr.
func tap(tb testing.TB, n *nstest.Node, link string, addr netip.Addr) func() int {
	tb.Helper()
	var c *packet.Conn
	n.Link(link, func(l netlink.Link) (err error) {
		c, err = packet.Listen(&net.Interface{Index: l.Attrs().Index, Name: link}, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	tb.Cleanup(func() { c.Close() })
	return func() int {
		count, buf := 0, make([]byte, 65536)
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		for {
			m, _, err := c.ReadFrom(buf)
			if err != nil {
				return count
			}
			to, _ := netip.AddrFromSlice(buf[30:34])
			if buf[12] == 0x86 && buf[20] == unix.IPPROTO_ICMPV6 && buf[54] >= 133 {
				continue // neighbour discovery
			}
			if buf[12] == 0x86 {
				to, _ = netip.AddrFromSlice(buf[38:54])
			}
			if m >= 34 && to == addr {
				count++
			}
		}
	}
}

func TestAPacketSocketSeesWhatIsDropped(t *testing.T) {
	client, host, _ := lan(t)
	host.Addr("d0", "10.0.0.100/32")
	g := newGuard(t, host)
	set(host, g, Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.0.0.100:80")}})
	seen := tap(t, host, "d0", netip.MustParseAddr("10.0.0.100"))
	expect(t, client, "10.0.0.100:80", "silent", "the service is guarded")
	if seen() == 0 {
		t.Error("the packet socket saw no segment")
	}
}

// datagram sends n bytes by UDP from the node's address from, which may be
// empty, to an address.
func datagram(n *nstest.Node, from, to string, size int) {
	n.Do(func() error {
		d := net.Dialer{}
		if from != "" {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))
		}
		c, err := d.Dial("udp", to)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(make([]byte, size))
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
		return err
	})
}

func TestFragmentsOfGuardedTrafficAreNotForwarded(t *testing.T) {
	client, host, server := lan(t)
	g := newGuard(t, host)
	for _, c := range []struct{ client, vip, server string }{
		{"10.0.0.9", "10.1.0.100", "10.1.0.11"},
		{"fd00::9", "fd00:1::100", "fd00:1::11"},
	} {
		at := func(addr, port string) string { return net.JoinHostPort(addr, port) }
		set(host, g, Rules{Links: []string{"d0", "d1"},
			Virtual: []Tuple{tuple(17, at(c.vip, "53"))}, Servers: []Tuple{tuple(17, at(c.server, "53"))}})

		replies := tap(t, client, "c0", netip.MustParseAddr(c.client))
		datagram(server, at(c.server, "53"), at(c.client, "4000"), 4000)
		if n := replies(); n != 0 {
			t.Errorf("%d fragments of a reply to %s came through", n, c.client)
		}
		datagram(server, at(c.server, "54"), at(c.client, "4000"), 1000)
		if n := replies(); n == 0 {
			t.Errorf("a datagram of another port did not come through to %s", c.client)
		}

		// The address is nobody's: give it a way out to be seen on.
		host.Link("d1", func(l netlink.Link) error {
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
				IP: net.ParseIP(c.vip), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}})
		})
		requests := tap(t, server, "s0", netip.MustParseAddr(c.vip))
		datagram(client, "", at(c.vip, "53"), 4000)
		if n := requests(); n != 0 {
			t.Errorf("%d fragments of a request to %s came through", n, c.vip)
		}
		datagram(client, "", at(c.vip, "54"), 1000)
		if n := requests(); n == 0 {
			t.Errorf("a datagram for another port of %s did not come through", c.vip)
		}
	}
}

func TestFragmentsOfOtherPortsPassAGuardedAddress(t *testing.T) {
	client, host, server := lan(t)
	g := newGuard(t, host)
	for _, c := range []struct {
		client, vip, server string
		marked              bool
	}{
		{"10.0.0.9", "10.0.0.2", "10.1.0.11", false},
		{"fd00::9", "fd00::2", "fd00:1::11", false},
		{"10.0.0.9", "10.0.0.2", "10.1.0.11", true},
		{"fd00::9", "fd00::2", "fd00:1::11", true},
	} {
		at := func(addr, port string) string { return net.JoinHostPort(addr, port) }
		vip := tuple(17, at(c.vip, "53"))
		r := Rules{Links: []string{"d0", "d1"}, Virtual: []Tuple{vip}, Servers: []Tuple{tuple(17, at(c.server, "53"))}}
		if c.marked {
			r.Virtual, r.Marks = nil, []Match{{Six: vip.Addr.Is6(), Proto: 17, Drop: true, DstPorts: [2]uint16{53, 53},
				Dst: netip.PrefixFrom(vip.Addr, vip.Addr.BitLen())}}
		}
		set(host, g, r)
		own, closeOwn := receiver(t, host, at(c.vip, "54"))
		guarded, closeGuarded := receiver(t, host, at(c.vip, "53"))
		other, closeOther := receiver(t, client, at(c.client, "4000"))
		closeAll := func() { closeOwn(); closeGuarded(); closeOther() }
		datagram(client, "", at(c.vip, "53"), 4000)
		datagram(client, "", at(c.vip, "54"), 5000)
		datagram(client, "", at(c.vip, "53"), 4000)
		if n := own(); n != 5000 {
			t.Errorf("the host's own service on %s got %d bytes, want 5000", c.vip, n)
		}
		if n := guarded(); n != 0 {
			t.Errorf("a guarded port of %s got %d bytes", c.vip, n)
		}
		datagram(server, at(c.server, "53"), at(c.client, "4000"), 4000)
		datagram(server, at(c.server, "54"), at(c.client, "4000"), 6000)
		if n := other(); n != 6000 {
			t.Errorf("%s got %d bytes first, want 6000 from the port that is not guarded", c.client, n)
		}
		closeAll()
	}
}

// receiver returns a function that tells how long the next datagram to an
// address is, 0 if none comes, and one that ends it.
func receiver(tb testing.TB, n *nstest.Node, addr string) (next func() int, end func() error) {
	tb.Helper()
	var c net.PacketConn
	n.Do(func() (err error) { c, err = net.ListenPacket("udp", addr); return err })
	return func() int {
		c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		size, _, _ := c.ReadFrom(make([]byte, 65536))
		return size
	}, c.Close
}

func TestICMPErrorsAboutGuardedFlowsAreNotForwarded(t *testing.T) {
	client, host, server := lan(t)
	server.Sysctl("net/ipv4/icmp_ratelimit", "0")
	server.Sysctl("net/ipv6/icmp/ratelimit", "0")
	g := newGuard(t, host)
	for from, to := range map[string]string{"10.0.0.9": "10.1.0.11", "fd00::9": "fd00:1::11"} {
		seen := tap(t, client, "c0", netip.MustParseAddr(from))
		datagram(client, "", net.JoinHostPort(to, "7"), 10)
		if seen() == 0 {
			t.Fatalf("port unreachable from %s does not come through the unguarded host", to)
		}
		set(host, g, Rules{Links: []string{"d0", "d1"}, Servers: []Tuple{tuple(17, net.JoinHostPort(to, "7"))}})
		datagram(client, "", net.JoinHostPort(to, "7"), 10)
		if n := seen(); n != 0 {
			t.Errorf("%d errors about a packet to %s came through", n, to)
		}
		datagram(client, "", net.JoinHostPort(to, "8"), 10)
		if seen() == 0 {
			t.Errorf("an error about another port of %s did not come through", to)
		}
	}
}

func TestNeighbourDiscoveryPassesAGuardedAddress(t *testing.T) {
	client, host, _ := lan(t)
	host.Addr("d0", "fd00::100/128")
	g := newGuard(t, host)
	addr := netip.MustParseAddr("fd00::100")
	set(host, g, Rules{Links: []string{"d0"}, Virtual: []Tuple{{Addr: addr}}, Local: []netip.Addr{addr}})
	datagram(client, "", "[fd00::100]:9", 10)
	nstest.Eventually(t, "the host answers the solicitation", func() (found bool) {
		client.Do(func() error {
			list, err := netlink.NeighList(0, netlink.FAMILY_V6)
			for _, e := range list {
				found = found || e.IP.Equal(net.IP(addr.AsSlice())) && e.State&netlink.NUD_REACHABLE != 0
			}
			return err
		})
		return found
	})
}

func TestAVLANsTrafficIsItsOwnInterfaces(t *testing.T) {
	client, host, _ := lan(t)
	for _, n := range []*nstest.Node{client, host} {
		parent, addr := "c0", "10.7.0.9/24"
		if n == host {
			parent, addr = "d0", "10.7.0.2/24"
		}
		err := n.Try(func() error { return addVLAN(parent, 7) })
		if errors.Is(err, unix.EOPNOTSUPP) {
			t.Skip("this kernel has no VLAN interfaces")
		}
		if err != nil {
			t.Fatal(err)
		}
		n.Up(parent + ".7")
		n.Addr(parent+".7", addr)
	}
	g := newGuard(t, host)
	r := Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.7.0.2:80")}}
	set(host, g, r)
	expect(t, client, "10.7.0.2:80", "refused", "the VLAN is not guarded")
	r.Links = append(r.Links, "d0.7")
	set(host, g, r)
	expect(t, client, "10.7.0.2:80", "silent", "the VLAN is guarded")
}

func addVLAN(parent string, id int) error {
	l, err := netlink.LinkByName(parent)
	if err != nil {
		return err
	}
	la := netlink.NewLinkAttrs()
	la.Name, la.ParentIndex = fmt.Sprint(parent, ".", id), l.Attrs().Index
	return netlink.LinkAdd(&netlink.Vlan{LinkAttrs: la, VlanId: id, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q})
}

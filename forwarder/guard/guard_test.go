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
	n.Do(func() (err error) { g, err = New(nil, nil); return err })
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

const (
	// aMoment is how long to wait for what must not come.
	aMoment = 200 * time.Millisecond
	// patience is how long to wait for what must come, also on a busy machine.
	patience = 10 * time.Second
)

// dial returns "accepted", "refused", or "silent" if there is no answer in time.
func dial(n *nstest.Node, addr string, wait time.Duration) (answer string) {
	n.Do(func() error {
		c, err := net.DialTimeout("tcp", addr, wait)
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
	wait := patience
	if want == "silent" {
		wait = aMoment
	}
	if got := dial(n, addr, wait); got != want {
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

// tap counts the packets a packet socket in the node sees that are to addr: it
// waits until there is one, or, if there must be none, for a moment.
func tap(tb testing.TB, n *nstest.Node, link string, addr netip.Addr) func(wait time.Duration) int {
	tb.Helper()
	var c *packet.Conn
	n.Link(link, func(l netlink.Link) (err error) {
		c, err = packet.Listen(&net.Interface{Index: l.Attrs().Index, Name: link}, packet.Raw, unix.ETH_P_ALL, nil)
		return err
	})
	tb.Cleanup(func() { c.Close() })
	return func(wait time.Duration) int {
		count, buf := 0, make([]byte, 65536)
		_ = c.SetReadDeadline(time.Now().Add(wait))
		for count == 0 {
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
		return count
	}
}

func TestAPacketSocketSeesWhatIsDropped(t *testing.T) {
	client, host, _ := lan(t)
	host.Addr("d0", "10.0.0.100/32")
	g := newGuard(t, host)
	set(host, g, Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.0.0.100:80")}})
	seen := tap(t, host, "d0", netip.MustParseAddr("10.0.0.100"))
	expect(t, client, "10.0.0.100:80", "silent", "the service is guarded")
	if seen(patience) == 0 {
		t.Error("the packet socket saw no segment")
	}
}

func TestICMPErrorsAboutGuardedFlowsAreNotForwarded(t *testing.T) {
	client, host, server := lan(t)
	server.Sysctl("net/ipv4/icmp_ratelimit", "0")
	server.Sysctl("net/ipv6/icmp/ratelimit", "0")
	g := newGuard(t, host)
	for from, to := range map[string]string{"10.0.0.9": "10.1.0.11", "fd00::9": "fd00:1::11"} {
		seen := tap(t, client, "c0", netip.MustParseAddr(from))
		datagram(client, "", net.JoinHostPort(to, "7"), 10)
		if seen(patience) == 0 {
			t.Fatalf("port unreachable from %s does not come through the unguarded host", to)
		}
		set(host, g, Rules{Links: []string{"d0", "d1"}, Servers: []Tuple{tuple(17, net.JoinHostPort(to, "7"))}})
		datagram(client, "", net.JoinHostPort(to, "7"), 10)
		if n := seen(aMoment); n != 0 {
			t.Errorf("%d errors about a packet to %s came through", n, to)
		}
		datagram(client, "", net.JoinHostPort(to, "8"), 10)
		if seen(patience) == 0 {
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

package guard

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/internal/nstest"
)

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
		if n := replies(aMoment); n != 0 {
			t.Errorf("%d fragments of a reply to %s came through", n, c.client)
		}
		datagram(server, at(c.server, "54"), at(c.client, "4000"), 1000)
		if n := replies(patience); n == 0 {
			t.Errorf("a datagram of another port did not come through to %s", c.client)
		}

		// The address is nobody's: give it a way out to be seen on.
		host.Link("d1", func(l netlink.Link) error {
			return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT,
				IP: net.ParseIP(c.vip), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}})
		})
		requests := tap(t, server, "s0", netip.MustParseAddr(c.vip))
		datagram(client, "", at(c.vip, "53"), 4000)
		if n := requests(aMoment); n != 0 {
			t.Errorf("%d fragments of a request to %s came through", n, c.vip)
		}
		datagram(client, "", at(c.vip, "54"), 1000)
		if n := requests(patience); n == 0 {
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
		if n := own(patience); n != 5000 {
			t.Errorf("the host's own service on %s got %d bytes, want 5000", c.vip, n)
		}
		if n := guarded(aMoment); n != 0 {
			t.Errorf("a guarded port of %s got %d bytes", c.vip, n)
		}
		datagram(server, at(c.server, "53"), at(c.client, "4000"), 4000)
		datagram(server, at(c.server, "54"), at(c.client, "4000"), 6000)
		if n := other(patience); n != 6000 {
			t.Errorf("%s got %d bytes first, want 6000 from the port that is not guarded", c.client, n)
		}
		closeAll()
	}
}

// receiver returns a function that tells how long the next datagram to an
// address is, 0 if none comes in time, and one that ends it.
func receiver(tb testing.TB, n *nstest.Node, addr string) (next func(wait time.Duration) int, end func() error) {
	tb.Helper()
	var c net.PacketConn
	n.Do(func() (err error) { c, err = net.ListenPacket("udp", addr); return err })
	return func(wait time.Duration) int {
		c.SetReadDeadline(time.Now().Add(wait))
		size, _, _ := c.ReadFrom(make([]byte, 65536))
		return size
	}, c.Close
}

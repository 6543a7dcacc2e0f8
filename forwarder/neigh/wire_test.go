package neigh

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/internal/nstest"
)

// pair is a client and a director on one cable: 10.0.0.9 and 10.0.0.2, and the
// same in fd00::/64.
func pair(tb testing.TB) (client, host *nstest.Node) {
	tb.Helper()
	client, host = nstest.NewNode(tb), nstest.NewNode(tb)
	client.Connect("c0", host, "d0")
	client.Addr("c0", "10.0.0.9/24")
	client.Addr("c0", "fd00::9/64")
	host.Addr("d0", "10.0.0.2/24")
	host.Addr("d0", "fd00::2/64")
	return client, host
}

// neighbourOf returns the MAC address the node's kernel has for an address.
func neighbourOf(n *nstest.Node, addr string) (mac [6]byte, state int) {
	n.Do(func() error {
		list, err := netlink.NeighList(0, netlink.FAMILY_ALL)
		for _, e := range list {
			if e.IP.Equal(net.ParseIP(addr)) && len(e.HardwareAddr) == 6 && e.State&valid != 0 {
				mac, state = [6]byte(e.HardwareAddr), e.State
			}
		}
		return err
	})
	return mac, state
}

// poke makes the node's kernel look for an address, by a datagram for it.
func poke(n *nstest.Node, addr string) {
	n.Do(func() error {
		c, err := net.Dial("udp", net.JoinHostPort(addr, "9"))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	})
}

func TestAKernelFindsAVirtualAddressThatNoInterfaceHas(t *testing.T) {
	client, host := pair(t)
	d := direct(t, host, Config{AnnounceEvery: -1})
	for _, vip := range []string{"10.0.0.100", "fd00::100"} {
		d.SetOwned([]netip.Addr{ip("10.0.0.100"), ip("fd00::100")})
		poke(client, vip)
		nstest.Eventually(t, "the client knows "+vip, func() bool {
			mac, state := neighbourOf(client, vip)
			return mac == host.MAC("d0") && state&unix.NUD_REACHABLE != 0
		})
	}
	poke(client, "10.0.0.101")
	time.Sleep(50 * time.Millisecond)
	if mac, _ := neighbourOf(client, "10.0.0.101"); mac != [6]byte{} {
		t.Errorf("10.0.0.101 is nobody's and was answered for by %x", mac)
	}
}

func TestANeighbourTheKernelDoesNotKnowIsAskedFor(t *testing.T) {
	client, host := pair(t)
	d := direct(t, host, Config{})
	for _, addr := range []string{"10.0.0.9", "fd00::9"} {
		h, v := d.Lookup(ip(addr))
		if v != frame.Continue || h.Resolved {
			t.Fatalf("%s: first answer is %v, resolved %v", addr, v, h != nil && h.Resolved)
		}
		nstest.Eventually(t, addr+" is found", func() bool {
			h, v = d.Lookup(ip(addr))
			return v == frame.Continue && h.Resolved
		})
		if h.DstMAC != client.MAC("c0") || h.SrcMAC != host.MAC("d0") {
			t.Errorf("%s: %x to %x", addr, h.SrcMAC, h.DstMAC)
		}
		if mac, _ := neighbourOf(host, addr); mac != [6]byte{} {
			t.Errorf("%s: the kernel's own table has an entry now", addr)
		}
	}
}

package nstest

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Node is another host: a network namespace, and a goroutine that lives in it.
type Node struct {
	tb   testing.TB
	work chan func()
	ns   netns.NsHandle
}

// NewNode makes a host that has only its loopback interface. It is removed when the test
// ends.
func NewNode(tb testing.TB) *Node {
	tb.Helper()
	Need(tb)
	n := &Node{tb: tb, work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			n.ns, err = netns.Get()
		}
		ready <- err
		if err == nil {
			for f := range n.work {
				f()
			}
		}
	}()
	if err := <-ready; err != nil {
		tb.Fatalf("new namespace: %v", err)
	}
	tb.Cleanup(func() {
		close(n.work)
		n.ns.Close()
	})
	n.Do(loopbackUp)
	return n
}

// Do runs f in the node and fails the test if it fails.
func (n *Node) Do(f func() error) {
	n.tb.Helper()
	if err := n.Try(f); err != nil {
		n.tb.Fatal(err)
	}
}

// Try runs f in the node and returns its error. Like any function that does not run in the
// test's own goroutine, f must not call Fatal or Skip.
func (n *Node) Try(f func() error) error {
	done := make(chan error, 1)
	n.work <- func() {
		err := errors.New("nstest: function ended its node's goroutine")
		defer func() { done <- err }()
		err = f()
	}
	return <-done
}

// Connect joins interface a of n and interface b of m by a veth pair, sets both up, and
// waits until both carry frames.
func (n *Node) Connect(a string, m *Node, b string) {
	n.tb.Helper()
	n.Do(func() error {
		la := netlink.NewLinkAttrs()
		la.Name = a
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: la, PeerName: b, PeerNamespace: netlink.NsFd(m.ns)})
	})
	n.Up(a)
	m.Up(b)
	n.Do(func() error { return awaitRunning(a) })
	m.Do(func() error { return awaitRunning(b) })
}

// Up sets an interface up. Its IPv6 addresses are usable at once.
func (n *Node) Up(name string) {
	n.tb.Helper()
	n.Sysctl("net/ipv6/conf/"+name+"/accept_dad", "0")
	n.Link(name, netlink.LinkSetUp)
}

// Link calls f, in the node, with one of its interfaces.
func (n *Node) Link(name string, f func(netlink.Link) error) {
	n.tb.Helper()
	n.Do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return f(l)
	})
}

// Addr adds an address with its prefix length, "10.0.0.1/24". The node answers for it when
// Addr returns.
func (n *Node) Addr(link, cidr string) {
	n.tb.Helper()
	n.Link(link, func(l netlink.Link) error {
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		return awaitLocal(a.IP)
	})
}

// awaitLocal waits until an address is local: a worker of the kernel adds the local route
// of an IPv6 address some time after the address.
func awaitLocal(addr net.IP) error {
	return await(addr.String()+" to be local", func() (bool, error) {
		routes, err := netlink.RouteGet(addr)
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
			return false, nil
		}
		return err == nil && routes[0].Type == unix.RTN_LOCAL, err
	})
}

// MAC returns the MAC address of an interface.
func (n *Node) MAC(name string) (mac [6]byte) {
	n.tb.Helper()
	n.Link(name, func(l netlink.Link) error {
		mac = [6]byte(l.Attrs().HardwareAddr)
		return nil
	})
	return mac
}

// Route adds or replaces a route through a gateway.
func (n *Node) Route(cidr, gateway string) {
	n.tb.Helper()
	n.Do(func() error {
		_, dst, err := net.ParseCIDR(cidr)
		if err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: net.ParseIP(gateway)})
	})
}

// Sysctl sets a parameter of the node, "net/ipv4/ip_forward". It ignores one that this
// kernel does not have, or has read-only.
func (n *Node) Sysctl(name, value string) {
	n.tb.Helper()
	n.Do(func() error {
		_ = os.WriteFile("/proc/sys/"+name, []byte(value), 0o644)
		return nil
	})
}

// Eventually waits until ok returns true, and fails the test after a minute.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatal("did not happen: " + what)
		}
	}
}

package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/internal/sysctl"
)

// host is a node of a running lab: an operating system thread in the node's namespaces
// that runs functions there. Whatever the thread starts or opens belongs to the node, so
// no other code has to enter a namespace.
type host struct {
	*Node
	work chan func()
	nl   *netlink.Handle // sockets of the node's network namespace; any thread may use them

	failed chan error // receives when a node that failed can come back; nil: it has not failed
}

// newHost starts the thread of a node in its own network and host name namespace, and
// puts the network namespace into /run/netns under the node's name. Call [host.isolate]
// when all hosts exist.
func newHost(n *Node) (*host, error) {
	h := &host{Node: n, work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is the node's for good
		ready <- h.newNamespaces()
		for f := range h.work {
			f()
		}
	}()
	return h, <-ready
}

func (h *host) newNamespaces() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("lab: node %s: unshare: %w", h.Name, err)
	}
	if err := unix.Sethostname([]byte(h.Name)); err != nil {
		return fmt.Errorf("lab: node %s: set host name: %w", h.Name, err)
	}
	if err := bind("/proc/thread-self/ns/net", filepath.Join(netnsDir, h.Name)); err != nil {
		return err
	}
	var err error
	if h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("lab: node %s: netlink: %w", h.Name, err)
	}
	return nil
}

// do runs f on the node's thread and waits for it.
func (h *host) do(f func()) {
	done := make(chan struct{})
	h.work <- func() { defer close(done); f() }
	<-done
}

// try is do for a function that can fail.
func (h *host) try(f func() error) (err error) {
	h.do(func() { err = f() })
	return err
}

// isolate gives the node its own mount namespace, a copy of the lab's.
func (h *host) isolate() error {
	return h.try(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("lab: node %s: unshare mounts: %w", h.Name, err)
		}
		mountNode()
		return nil
	})
}

// netns opens the node's network namespace.
func (h *host) netns() (*os.File, error) {
	return os.Open(filepath.Join(netnsDir, h.Name))
}

// configure sets kernel parameters, addresses and routes. The links must exist.
func (h *host) configure() error {
	if err := h.sysctls(); err != nil {
		return err
	}
	if err := h.linkUp("lo"); err != nil {
		return err
	}
	for i, iface := range h.Interfaces {
		name := ethName(i)
		if err := h.linkUp(name); err != nil {
			return err
		}
		for _, a := range iface.Addresses {
			if err := h.addAddress(name, a); err != nil {
				return err
			}
		}
	}
	return h.addRoutes()
}

func (h *host) linkUp(name string) error {
	l, err := h.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("lab: node %s: %s: %w", h.Name, name, err)
	}
	if err := h.nl.LinkSetUp(l); err != nil {
		return fmt.Errorf("lab: node %s: %s up: %w", h.Name, name, err)
	}
	return nil
}

// addAddress adds an address to an interface, if it is not there, and waits until it is local.
func (h *host) addAddress(link string, a Address) error {
	l, err := h.nl.LinkByName(link)
	if err != nil {
		return fmt.Errorf("lab: node %s: %s: %w", h.Name, link, err)
	}
	na, err := netlink.ParseAddr(a.Prefix.String())
	if err != nil {
		return fmt.Errorf("lab: node %s: %w", h.Name, err)
	}
	na.Label = a.Label
	if a.Prefix.Addr().Is6() {
		na.Flags = unix.IFA_F_NODAD
	}
	if err := h.nl.AddrAdd(l, na); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("lab: node %s: add %s to %s: %w", h.Name, a.Prefix, link, err)
	}
	if err := h.awaitLocal(na.IP); err != nil {
		return fmt.Errorf("lab: node %s: %w", h.Name, err)
	}
	return nil
}

// addRoutes adds the node's routes.
func (h *host) addRoutes() error {
	for _, r := range h.AllRoutes() {
		if err := h.addRoute(r); err != nil {
			return err
		}
	}
	return nil
}

// AllRoutes returns the node's routes beside those of its addresses: the one to everything
// through its gateway first, as "ip route add default via".
func (n *Node) AllRoutes() []Route {
	if !n.Gateway.IsValid() {
		return n.Routes
	}
	everything := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if n.Gateway.Is6() {
		everything = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return append([]Route{{To: everything, Via: n.Gateway}}, n.Routes...)
}

// addRoute adds a route, if none is there to the same.
func (h *host) addRoute(r Route) error {
	nr, err := h.kernelRoute(r)
	if err == nil {
		err = h.nl.RouteAdd(nr)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("lab: node %s: route %s: %w", h.Name, r, err)
	}
	return nil
}

// kernelRoute is a route as the kernel has it.
func (h *host) kernelRoute(r Route) (*netlink.Route, error) {
	nr := &netlink.Route{Dst: &net.IPNet{IP: r.To.Addr().AsSlice(), Mask: net.CIDRMask(r.To.Bits(), r.To.Addr().BitLen())}}
	if r.Via.IsValid() {
		nr.Gw = r.Via.AsSlice()
	} else {
		nr.Scope = netlink.SCOPE_LINK
	}
	if r.Link == "" {
		return nr, nil
	}
	l, err := h.nl.LinkByName(r.Link)
	if err != nil {
		return nil, err
	}
	nr.LinkIndex = l.Attrs().Index
	return nr, nil
}

// addLocal makes all addresses of a network the node's own: "ip route add local".
func (h *host) addLocal(network, link string) error {
	p, err := netip.ParsePrefix(network)
	if err != nil {
		return fmt.Errorf("lab: node %s: %w", h.Name, err)
	}
	nr, err := h.kernelRoute(Route{To: p, Link: link})
	if err == nil {
		nr.Type, nr.Table, nr.Scope = unix.RTN_LOCAL, unix.RT_TABLE_LOCAL, netlink.SCOPE_HOST
		err = h.nl.RouteAdd(nr)
	}
	if err != nil {
		return fmt.Errorf("lab: node %s: local %s: %w", h.Name, p, err)
	}
	return nil
}

// sysctls sets every parameter that affects how packets are routed, because new
// namespaces may inherit the host's conf/all and conf/default. The interfaces exist
// already and get the same values.
func (h *host) sysctls() error {
	return h.try(func() error {
		for _, p := range h.Parameters() {
			var err error
			if p.Each {
				err = confEach(p.Family, p.Name, p.Value)
			} else {
				err = sysctl.Set("net."+p.Family+"."+p.Name, p.Value)
			}
			if err != nil && !p.Optional {
				return fmt.Errorf("lab: node %s: %w%s", h.Name, err, readOnly(err))
			}
		}
		return nil
	})
}

// readOnly says what to do about parameters that cannot be written, if an error is that.
func readOnly(err error) string {
	if !errors.Is(err, unix.EROFS) {
		return ""
	}
	return "; container runtimes mount it so: podman run --security-opt unmask=/proc/sys, docker run --security-opt systempaths=unconfined"
}

// confEach sets a per-interface parameter everywhere: all, default, and each
// interface.
func confEach(family, key, value string) error {
	dirs, _ := filepath.Glob(filepath.Join("/proc/sys/net", family, "conf", "*"))
	if len(dirs) == 0 {
		return fmt.Errorf("no %s parameters in /proc/sys/net", family)
	}
	for _, d := range dirs {
		if err := sysctl.Write(filepath.Join(d, key), value); err != nil {
			return err
		}
	}
	return nil
}

package lab

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// awaitNetworks waits until the networks carry frames and every node answers for its
// addresses. Some of that happens after the system call that requests it: an interface
// gets its queue, and a bridge's port forwards, only when the kernel's link watch runs,
// and a worker of the kernel adds the local route of an IPv6 address. Packets sent
// before that are lost, or answered with "no route".
func (s *supervisor) awaitNetworks() error {
	return onLinks(func(nl *netlink.Handle) error {
		if err := await("interfaces to run", func() (bool, error) { return s.linksRun(nl) }); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		return nil
	})
}

// linksRun reports whether all cables that are in at both ends carry frames, and the bridges that
// they lead to. A cable that is pulled is at one end an interface that is not set up, and no other
// interface of a node is the lab's to wait for.
func (s *supervisor) linksRun(nl *netlink.Handle) (bool, error) {
	own, err := linksOf(nl)
	if err != nil {
		return false, err
	}
	nodes := make([]map[string]*netlink.LinkAttrs, len(s.hosts))
	for i, h := range s.hosts {
		if nodes[i], err = linksOf(h.nl); err != nil {
			return false, fmt.Errorf("node %s: %w", h.Name, err)
		}
	}
	for _, at := range s.Topology.allLegs() {
		near, far := nodes[at.node][ethName(at.iface)], (*netlink.LinkAttrs)(nil)
		h, name := s.farEnd(at)
		if h == nil {
			far = own[name]
		} else {
			far = nodes[slices.Index(s.hosts, h)][name]
		}
		if !isUp(near) || !isUp(far) {
			continue
		}
		bridge := own[s.Topology.Nodes[at.node].Interfaces[at.iface].Network] // none between two nodes joined directly
		if !carries(near) || !carries(far) || bridge != nil && !carries(bridge) {
			return false, nil
		}
	}
	return true, nil
}

// linksOf returns the links of a network namespace by their names.
func linksOf(nl *netlink.Handle) (map[string]*netlink.LinkAttrs, error) {
	all, err := nl.LinkList()
	if err != nil {
		return nil, err
	}
	named := map[string]*netlink.LinkAttrs{}
	for _, l := range all {
		named[l.Attrs().Name] = l.Attrs()
	}
	return named, nil
}

// isUp reports whether a link is there and set up, which it can be without a carrier.
func isUp(l *netlink.LinkAttrs) bool { return l != nil && l.Flags&net.FlagUp != 0 }

// carries reports whether a link carries frames (operstates.rst of the kernel's documentation).
func carries(l *netlink.LinkAttrs) bool {
	return l.OperState == netlink.OperUp || l.OperState == netlink.OperUnknown
}

// awaitLocal waits until an address is local to the node.
func (h *host) awaitLocal(addr net.IP) error {
	return await(addr.String()+" to be local", func() (bool, error) {
		routes, err := h.nl.RouteGet(addr)
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
			return false, nil
		}
		return err == nil && routes[0].Type == unix.RTN_LOCAL, err
	})
}

// await waits until the kernel has done what it was asked to do.
func await(what string, done func() (bool, error)) error {
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if ok, err := done(); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("waited in vain for %s", what)
}

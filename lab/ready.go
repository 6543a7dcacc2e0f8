package lab

import (
	"errors"
	"fmt"
	"net"
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
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("lab: netlink: %w", err)
	}
	defer nl.Close()
	if err := awaitLinks(nl); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	for _, h := range s.hosts {
		if err := awaitLinks(h.nl); err != nil {
			return fmt.Errorf("lab: node %s: %w", h.Name, err)
		}
	}
	return nil
}

// awaitLinks waits until all interfaces that are set up are running.
func awaitLinks(nl *netlink.Handle) error {
	return await("interfaces to run", func() (bool, error) {
		links, err := nl.LinkList()
		if err != nil {
			return false, err
		}
		for _, l := range links {
			a := l.Attrs()
			if a.Flags&net.FlagUp != 0 && a.OperState != netlink.OperUp && a.OperState != netlink.OperUnknown {
				return false, nil
			}
		}
		return true, nil
	})
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

package lab

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// settle waits until the networks carry frames and every node answers for its
// addresses. The kernel lets some of that happen after the call that asks for it:
// an interface gets its queue and a bridge's port forwards when the link watch
// comes round, and an IPv6 address gets its local route from a worker. What a
// client sends before is lost, or answered with "no route".
func (s *supervisor) settle() error {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("lab: netlink: %w", err)
	}
	defer nl.Close()
	if err := linksRun(nl); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	for _, h := range s.hosts {
		if err := linksRun(h.nl); err != nil {
			return fmt.Errorf("lab: node %s: %w", h.Name, err)
		}
	}
	return nil
}

// linksRun waits until all interfaces that are set up run.
func linksRun(nl *netlink.Handle) error {
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

// awaitLocal waits until the node takes packets to an address for its own.
func (h *host) awaitLocal(addr net.IP) error {
	return await(addr.String()+" to be local", func() (bool, error) {
		routes, err := h.nl.RouteGet(addr)
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
			return false, nil
		}
		return err == nil && routes[0].Type == unix.RTN_LOCAL, err
	})
}

// await waits until the kernel has done what was asked of it.
func await(what string, done func() (bool, error)) error {
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if ok, err := done(); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("waited in vain for %s", what)
}

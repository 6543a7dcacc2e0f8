package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/internal/sysctl"
	"uvs/lab/wire"
)

// onLinks does something with the supervisor's own links.
func onLinks(do func(*netlink.Handle) error) error {
	nl, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("lab: netlink: %w", err)
	}
	defer nl.Close()
	return do(nl)
}

// addNetwork makes a network, if it is not there.
func (s *supervisor) addNetwork(name string) error {
	return onLinks(func(nl *netlink.Handle) error {
		if br, err := nl.LinkByName(name); err == nil {
			return nl.LinkSetUp(br)
		}
		_, err := s.Topology.Network(name).addBridge(nl)
		if err != nil {
			return fmt.Errorf("lab: network %s: %w", name, err)
		}
		return nil
	})
}

// removeNetwork removes a network, if it is there.
func (s *supervisor) removeNetwork(name string) error {
	return onLinks(func(nl *netlink.Handle) error {
		br, err := nl.LinkByName(name)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil
		}
		if err == nil {
			err = nl.LinkDel(br)
		}
		if err != nil {
			return fmt.Errorf("lab: network %s: %w", name, err)
		}
		return nil
	})
}

// leg returns the index of a node's interface.
func (s *supervisor) leg(node string, iface int) leg {
	return leg{slices.IndexFunc(s.Topology.Nodes, func(n Node) bool { return n.Name == node }), iface}
}

// plugIn makes an interface of a node and puts it on its network, if it is not there.
func (s *supervisor) plugIn(node string, iface int) error {
	at := s.leg(node, iface)
	h := s.hosts[at.node]
	n := s.Topology.Network(h.Interfaces[iface].Network)
	return onLinks(func(nl *netlink.Handle) error {
		if _, err := nl.LinkByName(s.Topology.portName(at)); err == nil {
			return nil
		}
		br, err := nl.LinkByName(n.Name)
		if err == nil {
			err = s.Topology.port(nl, n, br, h, at)
		}
		if err == nil {
			err = n.setOffloads(s.hosts, []leg{at})
		}
		if err != nil {
			return fmt.Errorf("lab: link %s:%s: %w", node, ethName(iface), err)
		}
		return nil
	})
}

// unplug takes an interface away from a node, and its wire if it has one.
func (s *supervisor) unplug(node string, iface int) error {
	at := s.leg(node, iface)
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	if l := s.links.all[at]; l != nil {
		if err := s.impair(l, wire.Both{}); err != nil {
			return err
		}
		delete(s.links.all, at)
	}
	return onLinks(func(nl *netlink.Handle) error {
		port, err := nl.LinkByName(s.Topology.portName(at))
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil // it was never plugged in
		}
		if err == nil {
			err = nl.LinkDel(port)
		}
		if err != nil {
			return fmt.Errorf("lab: link %s:%s: %w", node, ethName(iface), err)
		}
		return nil
	})
}

// move puts an interface on another network: its far end changes the bridge, and nothing else.
func (s *supervisor) move(node string, iface int) error {
	at := s.leg(node, iface)
	network := s.Topology.Nodes[at.node].Interfaces[iface].Network
	s.links.mu.Lock()
	end := s.Topology.portName(at)
	if l := s.links.all[at]; l != nil && l.wire != nil {
		end = s.Topology.bridgeSide(at)
	}
	s.links.mu.Unlock()
	err := onLinks(func(nl *netlink.Handle) error {
		br, err := nl.LinkByName(network)
		if err != nil {
			return err
		}
		port, err := nl.LinkByName(end)
		if err != nil {
			return err
		}
		return nl.LinkSetMaster(port, br)
	})
	if err != nil {
		return fmt.Errorf("lab: link %s:%s: %w", node, ethName(iface), err)
	}
	return s.setMTU(network)
}

// setMTU gives a network and all that is on it its MTU.
func (s *supervisor) setMTU(network string) error {
	n := s.Topology.Network(network)
	return onLinks(func(nl *netlink.Handle) error {
		set := func(nl *netlink.Handle, name string) error {
			l, err := nl.LinkByName(name)
			if errors.As(err, &netlink.LinkNotFoundError{}) {
				return nil // no wire is there, or the interface is still to come
			}
			if err == nil && l.Attrs().MTU != n.mtu() {
				err = nl.LinkSetMTU(l, n.mtu())
			}
			if err != nil {
				return fmt.Errorf("lab: network %s: mtu of %s: %w", network, name, err)
			}
			return nil
		}
		var failed error
		for _, at := range s.Topology.legs(network) {
			failed = errors.Join(failed, set(s.hosts[at.node].nl, ethName(at.iface)))
			for _, name := range []string{s.Topology.portName(at), s.Topology.bridgeSide(at), s.Topology.wireSide(at)} {
				failed = errors.Join(failed, set(nl, name))
			}
		}
		return errors.Join(failed, set(nl, network))
	})
}

// setImpairment gives a link what the topology says of it.
func (s *supervisor) setImpairment(node string, iface int) error {
	at := s.leg(node, iface)
	impair := s.Topology.Nodes[at.node].Interfaces[iface].Impair
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	return s.impair(s.linkAt(at), wire.Both{In: impair, Out: impair})
}

// configureInterface sets up an interface that is new: its parameters are the node's defaults.
func (h *host) configureInterface(i int) error {
	if err := h.linkUp(ethName(i)); err != nil {
		return err
	}
	return h.repair()
}

// repair gives a node the addresses and routes of the topology that it lacks: with one address the
// kernel takes away others of its network, and routes by it.
func (h *host) repair() error {
	for i, iface := range h.Interfaces {
		l, err := h.nl.LinkByName(ethName(i))
		if err != nil {
			return fmt.Errorf("lab: node %s: %s: %w", h.Name, ethName(i), err)
		}
		has, err := h.nl.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("lab: node %s: %w", h.Name, err)
		}
		for _, a := range iface.Addresses {
			if slices.ContainsFunc(has, func(o netlink.Addr) bool { return o.IP.Equal(a.Prefix.Addr().AsSlice()) }) {
				continue
			}
			if err := h.addAddress(ethName(i), a); err != nil {
				return err
			}
		}
	}
	for _, r := range h.AllRoutes() {
		nr, err := h.kernelRoute(r)
		if err == nil {
			err = h.nl.RouteReplace(nr)
		}
		if err != nil {
			return fmt.Errorf("lab: node %s: route %s: %w", h.Name, r, err)
		}
	}
	return nil
}

// removeAddress removes an address, if it is there.
func (h *host) removeAddress(link string, a Address) error {
	l, err := h.nl.LinkByName(link)
	if err != nil {
		return fmt.Errorf("lab: node %s: %s: %w", h.Name, link, err)
	}
	has, err := h.nl.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("lab: node %s: %w", h.Name, err)
	}
	for _, o := range has {
		ip, _ := netip.AddrFromSlice(o.IP)
		if ones, _ := o.Mask.Size(); ip.Unmap() != a.Prefix.Addr() || ones != a.Prefix.Bits() {
			continue
		}
		if err := h.nl.AddrDel(l, &o); err != nil {
			return fmt.Errorf("lab: node %s: remove %s from %s: %w", h.Name, a.Prefix, link, err)
		}
	}
	return nil
}

// removeRoute removes a route, if it is there: it may have gone with its address.
func (h *host) removeRoute(r Route) error {
	nr, err := h.kernelRoute(r)
	if err == nil {
		err = h.nl.RouteDel(nr)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.As(err, &netlink.LinkNotFoundError{}) {
		return fmt.Errorf("lab: node %s: route %s: %w", h.Name, r, err)
	}
	return nil
}

// setForward lets the node's kernel forward packets, or not. That lets it send and take redirects
// again, which no node of a lab does.
func (h *host) setForward() error {
	on := "0"
	if h.Forward {
		on = "1"
	}
	return h.try(func() error {
		if err := sysctl.Set("net.ipv4.ip_forward", on); err != nil {
			return fmt.Errorf("lab: node %s: %w", h.Name, err)
		}
		for _, key := range []string{"accept_redirects", "send_redirects"} {
			if err := confEach("ipv4", key, "0"); err != nil {
				return fmt.Errorf("lab: node %s: %w", h.Name, err)
			}
		}
		_ = confEach("ipv6", "forwarding", on) // a kernel without IPv6 has none
		return nil
	})
}

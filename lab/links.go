package lab

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"

	"uvs/internal/ethtool"
	"uvs/internal/sysctl"
)

// leg is one end of a network: the index of a node and of its interface.
type leg struct{ node, iface int }

// InterfaceName returns the name of a node's interface by its index in the topology.
func InterfaceName(i int) string { return ethName(i) }

func ethName(i int) string { return fmt.Sprintf("eth%d", i) }

// MAC returns the Ethernet address of an interface by the indexes of its node and its own in
// the topology: 02:00:00:00, the node's number from 1, the interface's number. So an address
// shows where a frame is from.
func MAC(node, iface int) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, byte(node + 1), byte(iface)}
}

func mac(l leg) net.HardwareAddr { return MAC(l.node, l.iface) }

// buildNetworks builds every network of the topology. The supervisor's own network
// namespace has the bridges and nothing else.
func buildNetworks(t *Topology, hosts []*host) error {
	nl, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("lab: netlink: %w", err)
	}
	defer nl.Close()
	// If the bridge's netfilter hooks are loaded, they must not see these frames.
	_ = sysctl.Set("net.bridge.bridge-nf-call-iptables", "0")
	// The ports are no hosts: they must say nothing of their own.
	_ = sysctl.Set("net.ipv6.conf.default.disable_ipv6", "1")
	for i := range t.Networks {
		n := &t.Networks[i]
		legs := t.legs(n.Name)
		if t.direct(n.Name) {
			err = n.pair(nl, hosts, legs)
		} else {
			err = n.bridge(nl, hosts, legs)
		}
		if err != nil {
			return fmt.Errorf("lab: network %s: %w", n.Name, err)
		}
	}
	return nil
}

// legs returns the interfaces on a network.
func (t *Topology) legs(network string) []leg {
	var legs []leg
	for n := range t.Nodes {
		for i, iface := range t.Nodes[n].Interfaces {
			if iface.Network == network {
				legs = append(legs, leg{n, i})
			}
		}
	}
	return legs
}

// fixed reports whether no link can be impaired: in the lab of a measurement that was not told
// to measure over wires.
func (t *Topology) fixed() bool { return t.ByName && !t.Wires }

// direct reports whether a network joins its two interfaces without anything in between.
func (t *Topology) direct(network string) bool { return t.fixed() && len(t.legs(network)) == 2 }

func (n *Network) mtu() int {
	if n.MTU == 0 {
		return usualMTU
	}
	return n.MTU
}

// pair joins two interfaces directly.
func (n *Network) pair(nl *netlink.Handle, hosts []*host, legs []leg) error {
	a, b := legs[0], legs[1]
	ns, err := hosts[a.node].netns()
	if err != nil {
		return err
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.Namespace = ethName(a.iface), mac(a), netlink.NsFd(ns.Fd())
	if err := n.veth(nl, attrs, hosts[b.node], b); err != nil {
		return err
	}
	return n.setOffloads(hosts, legs)
}

// bridge joins any number of interfaces.
func (n *Network) bridge(nl *netlink.Handle, hosts []*host, legs []leg) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = n.Name, n.mtu()
	snoop := false
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snoop}
	if err := nl.LinkAdd(br); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	if err := nl.LinkSetUp(br); err != nil {
		return fmt.Errorf("bridge up: %w", err)
	}
	for _, l := range legs {
		if err := n.port(nl, br, hosts[l.node], l); err != nil {
			return err
		}
	}
	return n.setOffloads(hosts, legs)
}

// PortName returns the name of the bridge's end of an interface by the indexes of its node and
// its own in the topology.
func PortName(node, iface int) string { return fmt.Sprintf("n%d.%d", node+1, iface) }

func portName(l leg) string { return PortName(l.node, l.iface) }

// port joins an interface to the bridge. The bridge's end is named after the
// node.
func (n *Network) port(nl *netlink.Handle, br *netlink.Bridge, h *host, l leg) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = portName(l), br.Index
	if err := n.veth(nl, attrs, h, l); err != nil {
		return err
	}
	link, err := nl.LinkByName(attrs.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", attrs.Name, err)
	}
	if err := nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("%s up: %w", attrs.Name, err)
	}
	if n.NoOffload {
		return noOffload(attrs.Name)
	}
	return nil
}

// veth makes a veth pair: one end with attrs, the other is the node's interface.
func (n *Network) veth(nl *netlink.Handle, attrs netlink.LinkAttrs, h *host, l leg) error {
	ns, err := h.netns()
	if err != nil {
		return err
	}
	defer ns.Close()
	attrs.MTU = n.mtu()
	v := &netlink.Veth{
		LinkAttrs: attrs, PeerMTU: uint32(n.mtu()), PeerName: ethName(l.iface),
		PeerHardwareAddr: mac(l), PeerNamespace: netlink.NsFd(ns.Fd()),
	}
	if err := nl.LinkAdd(v); err != nil {
		return fmt.Errorf("veth to %s: %w", h.Name, err)
	}
	return nil
}

// setOffloads switches the offloads of the network's interfaces off if it says so.
func (n *Network) setOffloads(hosts []*host, legs []leg) error {
	if !n.NoOffload {
		return nil
	}
	for _, l := range legs {
		if err := hosts[l.node].try(func() error { return noOffload(ethName(l.iface)) }); err != nil {
			return err
		}
	}
	return nil
}

// offloads are the features that let a frame leave unfinished or longer than
// the MTU, with the kernel's names for them (ethtool -k, net/ethtool/common.c).
var offloads = []string{
	"tx-checksum-ip-generic", "tx-checksum-sctp", "tx-generic-segmentation", "tx-tcp-segmentation",
	"tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-accecn-segmentation", "tx-tcp-mangleid-segmentation",
	"tx-udp-segmentation", "tx-gso-list", "tx-gso-partial", "rx-gro", "rx-gro-list",
}

// noOffload switches the offloads off for a link in the calling thread's network
// namespace.
func noOffload(link string) error {
	off := map[string]bool{}
	for _, f := range offloads {
		off[f] = false
	}
	if err := ethtool.SetFeatures(link, off); err != nil {
		return fmt.Errorf("offloads off: %w", err)
	}
	return nil
}

package lab

import (
	"errors"
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

// number returns the number of the node with an index.
func (t *Topology) number(node int) int {
	if n := t.Nodes[node].Number; n != 0 {
		return n
	}
	return node + 1
}

// MAC returns the Ethernet address of an interface by the indexes of its node and its own in
// the topology: 02:00:00:00, the node's number, the interface's number. So an address shows
// where a frame is from.
func (t *Topology) MAC(node, iface int) net.HardwareAddr {
	return net.HardwareAddr{2, 0, 0, 0, byte(t.number(node)), byte(iface)}
}

func (t *Topology) mac(l leg) net.HardwareAddr { return t.MAC(l.node, l.iface) }

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
			err = t.join(nl, n, hosts, legs)
		} else {
			err = t.bridge(nl, n, hosts, legs)
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

// join joins two interfaces directly.
func (t *Topology) join(nl *netlink.Handle, n *Network, hosts []*host, legs []leg) error {
	a, b := legs[0], legs[1]
	ns, err := hosts[a.node].netns()
	if err != nil {
		return err
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.Namespace = ethName(a.iface), t.mac(a), netlink.NsFd(ns.Fd())
	if err := t.veth(nl, n, attrs, hosts[b.node], b); err != nil {
		return err
	}
	return n.setOffloads(hosts, legs)
}

// bridge joins any number of interfaces.
func (t *Topology) bridge(nl *netlink.Handle, n *Network, hosts []*host, legs []leg) error {
	br, err := n.addBridge(nl)
	if err != nil {
		return err
	}
	for _, l := range legs {
		if err := t.port(nl, n, br, hosts[l.node], l); err != nil {
			return err
		}
	}
	return n.setOffloads(hosts, legs)
}

// addBridge makes the network's bridge, with no ports.
func (n *Network) addBridge(nl *netlink.Handle) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = n.Name, n.mtu()
	snoop := false
	br := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snoop}
	if err := nl.LinkAdd(br); err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	if err := nl.LinkSetUp(br); err != nil {
		return nil, fmt.Errorf("bridge up: %w", err)
	}
	return br, nil
}

// PortName returns the name of the bridge's end of an interface by the indexes of its node and
// its own in the topology.
func (t *Topology) PortName(node, iface int) string {
	return fmt.Sprintf("n%d.%d", t.number(node), iface)
}

func (t *Topology) portName(l leg) string { return t.PortName(l.node, l.iface) }

// port joins an interface to the bridge. The bridge's end is named after the
// node.
func (t *Topology) port(nl *netlink.Handle, n *Network, br netlink.Link, h *host, l leg) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = t.portName(l), br.Attrs().Index
	if err := t.veth(nl, n, attrs, h, l); err != nil {
		return err
	}
	link, err := nl.LinkByName(attrs.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", attrs.Name, err)
	}
	if err = nl.LinkSetUp(link); err == nil && n.NoOffload {
		err = noOffload(attrs.Name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s up: %w", attrs.Name, err), nl.LinkDel(link)) // nothing is half done
	}
	return nil
}

// veth makes a veth pair: one end with attrs, the other is the node's interface.
func (t *Topology) veth(nl *netlink.Handle, n *Network, attrs netlink.LinkAttrs, h *host, l leg) error {
	ns, err := h.netns()
	if err != nil {
		return err
	}
	defer ns.Close()
	attrs.MTU = n.mtu()
	v := &netlink.Veth{
		LinkAttrs: attrs, PeerMTU: uint32(n.mtu()), PeerName: ethName(l.iface),
		PeerHardwareAddr: t.mac(l), PeerNamespace: netlink.NsFd(ns.Fd()),
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

package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Look is what a node's kernel has now, whatever the topology says.
type Look struct {
	Links    []Link       `json:"links"`
	Gateways []netip.Addr `json:"gateways,omitempty"` // of its default routes, IPv4 first
}

// Link is an interface of a node.
type Link struct {
	Name      string         `json:"name"`
	MAC       string         `json:"mac,omitempty"`
	MTU       int            `json:"mtu"` // bytes of an IP packet
	Up        bool           `json:"up"`  // and the cable is in
	Addresses []netip.Prefix `json:"addresses,omitempty"`
}

// Look asks a node's kernel for its interfaces, addresses and gateways.
func (l *Lab) Look(node string) (*Look, error) {
	a, files, err := call(l.socket, request{Op: opLook, Node: node})
	closeAll(files)
	if err == nil && a.Look == nil {
		err = fmt.Errorf("lab: empty answer")
	}
	return a.Look, err
}

// look reads what the node's kernel has.
func (h *host) look() (*Look, error) {
	links, err := h.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("lab: node %s: %w", h.Name, err)
	}
	seen := &Look{}
	for _, l := range links {
		a := l.Attrs()
		running := a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown
		link := Link{Name: a.Name, MAC: a.HardwareAddr.String(), MTU: a.MTU, Up: a.RawFlags&unix.IFF_UP != 0 && running}
		if a.RawFlags&unix.IFF_LOOPBACK != 0 {
			link.MAC = ""
		}
		addrs, err := h.nl.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("lab: node %s: %w", h.Name, err)
		}
		for _, a := range addrs {
			ip, _ := netip.AddrFromSlice(a.IP)
			bits, _ := a.Mask.Size()
			link.Addresses = append(link.Addresses, netip.PrefixFrom(ip.Unmap(), bits))
		}
		seen.Links = append(seen.Links, link)
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.nl.RouteList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("lab: node %s: %w", h.Name, err)
		}
		for _, r := range routes {
			everything := r.Dst == nil || r.Dst.IP.IsUnspecified()
			if gw, ok := netip.AddrFromSlice(r.Gw); ok && everything {
				seen.Gateways = append(seen.Gateways, gw.Unmap())
			}
		}
	}
	return seen, nil
}

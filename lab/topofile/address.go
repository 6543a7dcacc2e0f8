package topofile

import (
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v3"

	"uvs/lab"
)

// noHost says why no host has an address as its own; nothing, if one may.
func noHost(a netip.Addr) string {
	switch {
	case a.IsUnspecified():
		return "the unspecified address"
	case a.IsLoopback():
		return "a loopback address"
	case a.IsMulticast():
		return "a multicast address"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	}
	return ""
}

// noHostIn says why no host has an address in its network; nothing, if one may. Networks of two
// addresses and of one have neither a broadcast address nor one of their own (RFC 3021).
func noHostIn(p netip.Prefix) string {
	if why := noHost(p.Addr()); why != "" {
		return why
	}
	if !p.Addr().Is4() || p.Bits() >= 31 {
		return ""
	}
	switch p.Addr() {
	case p.Masked().Addr():
		return "the network itself"
	case broadcast(p):
		return "the broadcast address of its network"
	}
	return ""
}

// broadcast returns the last address of an IPv4 network.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(b)
}

// vip reads the virtual addresses of a director.
func (r *reader) vip(n *node, v *yaml.Node) {
	for _, item := range list(v) {
		a := r.addr(item, n.Name+": vip")
		if why := noHost(a); why != "" {
			r.wrong(item, "%s: vip %s is %s; expected an address that clients can ask", n.Name, a, why)
		}
		n.vips, n.vipsAt = append(n.vips, a), append(n.vipsAt, item)
	}
}

// apart sees that no other node has a virtual address where it would answer for the director: on
// a network of the director's, or as a client. The one that the file names later is told. An
// address with its whole length stays: packets for it may be routed there, as to the web sites
// behind transparent caches.
func (r *reader) apart(vips []netip.Addr) {
	for _, n := range r.order {
		for _, p := range slices.Concat(n.interfaces, n.aliases) {
			for i, a := range p.addresses {
				if vip := a.Prefix.Addr(); !a.Prefix.IsSingleIP() && slices.Contains(vips, vip) && r.answersFirst(n, p.number) {
					r.taken(n, p.places[i], vip)
				}
			}
		}
	}
}

// answersFirst reports whether a node's address on an interface keeps clients from a director that
// has the same one.
func (r *reader) answersFirst(n *node, number int) bool {
	if n.Role == lab.Director || n.Role == lab.Client || number >= len(n.Interfaces) {
		return n.Role == lab.Client
	}
	return slices.ContainsFunc(r.order, func(d *node) bool {
		return d.Role == lab.Director && slices.ContainsFunc(d.Interfaces, func(i lab.Interface) bool { return i.Network == n.Interfaces[number].Network })
	})
}

// taken tells that a node has a virtual address.
func (r *reader) taken(n *node, at *yaml.Node, vip netip.Addr) {
	for _, d := range r.order {
		i := slices.Index(d.vips, vip)
		if i >= 0 && later(d.vipsAt[i], at) {
			r.wrong(d.vipsAt[i], "%s: %s has %s already: expected an address that no other node has", d.Name, n.Name, vip)
			return
		}
	}
	r.wrong(at, "%s: %s is a virtual address already: expected an address of its own", n.Name, vip)
}

// later reports whether a stands after b in the file.
func later(a, b *yaml.Node) bool {
	return a.Line > b.Line || a.Line == b.Line && a.Column > b.Column
}

package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// toIPv6 turns a topology into the same one over IPv6: 172.16.253.63/16 becomes
// fd00:172:16::253:63/64 and 10.0.0.129/24 becomes fd00:10:0:0::129/64, so that each
// address can be recognized.
func (t *Topology) toIPv6() {
	t.Title += ", over IPv6"
	translate := ipv6Networks{}
	for i := range t.Nodes {
		for j := range t.Nodes[i].Interfaces {
			translate.add(t.Nodes[i].Interfaces[j].Addresses)
		}
	}
	t.VIP = translate.addr(t.VIP)
	for i, a := range t.MoreVIPs {
		t.MoreVIPs[i] = translate.addr(a)
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		for _, iface := range n.Interfaces {
			for k, a := range iface.Addresses {
				iface.Addresses[k] = translate.address(a)
			}
		}
		if n.Gateway.IsValid() {
			n.Gateway = translate.addr(n.Gateway)
		}
		for j, r := range n.Routes {
			n.Routes[j] = Route{To: translate.prefix(r.To), Via: translate.addr(r.Via)}
		}
		n.Setup = slices.DeleteFunc(n.Setup, isARPSetup)
		for j, c := range n.Setup {
			translate.command(c)
			if c[0] == "ipvsadm" && slices.Contains(c, "-f") {
				n.Setup[j] = append(c, "-6")
			}
		}
	}
}

// isARPSetup reports whether a command keeps a host from answering for the VIP on its lo.
// IPv6 does not need that: a host answers only for the addresses of the interface on
// which the solicitation arrives (RFC 4861 section 7.2.3).
func isARPSetup(c Command) bool {
	return c[0] == "sysctl" && strings.Contains(c[len(c)-1], ".arp_")
}

// ipv6Networks has the prefix lengths of a topology's IPv4 networks, by their first two
// bytes, and translates their addresses.
type ipv6Networks map[[2]byte]int

func (m ipv6Networks) add(all []Address) {
	for _, a := range all {
		four := a.Prefix.Addr().As4()
		if bits := a.Prefix.Bits(); bits < 32 {
			m[[2]byte(four[:2])] = bits
		}
	}
}

// addr returns the IPv6 address for an IPv4 one. An address outside the networks is in
// the VIP's /16.
func (m ipv6Networks) addr(a netip.Addr) netip.Addr {
	b := a.As4()
	text := fmt.Sprintf("fd00:%d:%d::%d:%d", b[0], b[1], b[2], b[3])
	if m[[2]byte(b[:2])] == 24 {
		text = fmt.Sprintf("fd00:%d:%d:%d::%d", b[0], b[1], b[2], b[3])
	}
	return netip.MustParseAddr(text)
}

func (m ipv6Networks) address(a Address) Address {
	return Address{Prefix: m.prefix(a.Prefix)} // aliases have no names in IPv6
}

// prefix translates a prefix: the address of a host stays one.
func (m ipv6Networks) prefix(p netip.Prefix) netip.Prefix {
	if p.IsSingleIP() {
		return netip.PrefixFrom(m.addr(p.Addr()), 128)
	}
	six := netip.PrefixFrom(m.addr(p.Addr()), 64)
	if p == p.Masked() {
		return six.Masked()
	}
	return six
}

// command translates the addresses in a command.
func (m ipv6Networks) command(c Command) {
	for i, word := range c {
		if ap, err := netip.ParseAddrPort(word); err == nil {
			c[i] = netip.AddrPortFrom(m.addr(ap.Addr()), ap.Port()).String()
			continue
		}
		if p, err := netip.ParsePrefix(word); err == nil {
			c[i] = m.prefix(p).String()
			continue
		}
		if a, err := netip.ParseAddr(word); err == nil {
			c[i] = m.addr(a).String()
			if c[i-1] == "-r" {
				c[i] = "[" + c[i] + "]:80" // ipvsadm takes no IPv6 address without a port
			}
		}
	}
}

// withIPv6 adds each topology's IPv6 form to names.
func withIPv6(names []string) []string {
	for _, n := range names[:len(names):len(names)] {
		if n != "dr-gateway" {
			names = append(names, n+"6")
		}
	}
	return names
}

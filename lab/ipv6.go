package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// six turns a topology into the same one over IPv6: 172.16.253.63/16 becomes
// fd00:172:16::253:63/64 and 10.0.0.129/24 becomes fd00:10:0:0::129/64, so that
// each address can be recognized.
func (t *Topology) six() {
	t.Title += ", over IPv6"
	translate := addresses{}
	for i := range t.Nodes {
		for j := range t.Nodes[i].Interfaces {
			translate.learn(t.Nodes[i].Interfaces[j].Addresses)
		}
	}
	t.VIP = translate.of(t.VIP)
	for i := range t.Nodes {
		n := &t.Nodes[i]
		for _, iface := range n.Interfaces {
			for k, a := range iface.Addresses {
				iface.Addresses[k] = translate.address(a)
			}
		}
		if n.Gateway.IsValid() {
			n.Gateway = translate.of(n.Gateway)
		}
		n.Setup = slices.DeleteFunc(n.Setup, aboutARP)
		for _, c := range n.Setup {
			translate.command(c)
		}
	}
}

// aboutARP reports whether a command keeps a host silent about the VIP on its
// lo. For IPv6 nothing does that: a host answers for the addresses of the
// interface that is asked on (RFC 4861 section 7.2.3).
func aboutARP(c Command) bool {
	return c[0] == "sysctl" && strings.Contains(c[len(c)-1], ".arp_")
}

// addresses are the IPv4 networks of a topology by their first two bytes, with
// their prefix length.
type addresses map[[2]byte]int

func (m addresses) learn(all []Address) {
	for _, a := range all {
		four := a.Prefix.Addr().As4()
		if bits := a.Prefix.Bits(); bits < 32 {
			m[[2]byte(four[:2])] = bits
		}
	}
}

// of returns the address over IPv6. One without a network is in the /16 that
// the VIP has everywhere.
func (m addresses) of(a netip.Addr) netip.Addr {
	b := a.As4()
	text := fmt.Sprintf("fd00:%d:%d::%d:%d", b[0], b[1], b[2], b[3])
	if m[[2]byte(b[:2])] == 24 {
		text = fmt.Sprintf("fd00:%d:%d:%d::%d", b[0], b[1], b[2], b[3])
	}
	return netip.MustParseAddr(text)
}

func (m addresses) address(a Address) Address {
	bits := 64
	if a.Prefix.IsSingleIP() {
		bits = 128
	}
	return Address{Prefix: netip.PrefixFrom(m.of(a.Prefix.Addr()), bits)} // aliases have no names in IPv6
}

// command translates the addresses among a command's words.
func (m addresses) command(c Command) {
	for i, word := range c {
		if ap, err := netip.ParseAddrPort(word); err == nil {
			c[i] = netip.AddrPortFrom(m.of(ap.Addr()), ap.Port()).String()
			continue
		}
		if p, err := netip.ParsePrefix(word); err == nil {
			c[i] = m.address(Address{Prefix: p}).Prefix.String()
			continue
		}
		if a, err := netip.ParseAddr(word); err == nil {
			c[i] = m.of(a).String()
			if c[i-1] == "-r" {
				c[i] = "[" + c[i] + "]:80" // ipvsadm takes no IPv6 address without a port
			}
		}
	}
}

// withSix adds each topology's IPv6 form to names.
func withSix(names []string) []string {
	for _, n := range names[:len(names):len(names)] {
		if !strings.Contains(n, "-") {
			names = append(names, n+"6")
		}
	}
	return names
}

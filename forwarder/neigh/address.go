package neigh

import (
	"math/bits"
	"net/netip"

	"golang.org/x/sys/unix"
)

// source returns the source address for a packet that the host would send over l to
// dst, or the zero Addr if the host has none.
func (v *view) source(l *link, dst netip.Addr) netip.Addr {
	if a := l.source(dst); a.IsValid() {
		return a
	}
	if dst.IsLinkLocalUnicast() {
		return netip.Addr{}
	}
	for _, other := range v.addressed {
		if a := other.source(dst); a.IsValid() && other.Up {
			return a
		}
	}
	return netip.Addr{}
}

// source returns the best address of the link itself.
func (l *link) source(dst netip.Addr) netip.Addr {
	if dst.Is4() {
		return l.source4(dst)
	}
	return l.source6(dst)
}

// source4 chooses as inet_select_addr does: the primary address whose network contains
// the destination, else the first that may be used beyond the link.
func (l *link) source4(dst netip.Addr) netip.Addr {
	var first netip.Addr
	for _, a := range l.addrs {
		if !a.prefix.Addr().Is4() || a.secondary || a.scope >= unix.RT_SCOPE_HOST {
			continue
		}
		if a.prefix.Contains(dst) {
			return a.prefix.Addr()
		}
		if !first.IsValid() {
			first = a.prefix.Addr()
		}
	}
	return first
}

// source6 chooses by the rules of RFC 6724 section 5 that can differ here:
// scope, not deprecated, longest matching prefix.
func (l *link) source6(dst netip.Addr) netip.Addr {
	var best netip.Addr
	rank := -1
	for _, a := range l.addrs {
		addr := a.prefix.Addr()
		if !addr.Is6() || a.unusable || a.scope >= unix.RT_SCOPE_HOST ||
			addr.IsLinkLocalUnicast() != dst.IsLinkLocalUnicast() {
			continue
		}
		r := common(addr, dst)
		if !a.old {
			r += 256
		}
		if r > rank {
			best, rank = addr, r
		}
	}
	return best
}

// common returns how many leading bits two IPv6 addresses share.
func common(a, b netip.Addr) int {
	x, y := a.As16(), b.As16()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			return 8*i + bits.LeadingZeros8(d)
		}
	}
	return 128
}

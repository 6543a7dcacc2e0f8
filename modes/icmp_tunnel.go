package modes

import (
	"encoding/binary"

	"uvs/forwarder/frame"
)

// QuotedTunnel returns the flows in an ICMP error about a packet of a Tunnel.
// outer is the flow of the packet that the error quotes: from the director to a
// real server, for GUE with the tunnel's port as its destination port. inner is
// the flow of the packet inside, from a client to a service; its connection is
// found by that. It reports false for anything else, and if the router quoted too
// little.
func QuotedTunnel(f *frame.Frame) (outer, inner frame.Flow, ok bool) {
	q, ok := quotedPacket(f)
	if !ok {
		return outer, inner, false
	}
	p, ok := unwrap(&q)
	if !ok || hasPorts(p.proto) && !p.ports {
		return outer, inner, false
	}
	return q.flow(), p.flow(), true
}

// unwrap finds the packet inside a quoted tunnel packet.
func unwrap(q *quoted) (quoted, bool) {
	b := q.b[q.l4:]
	switch q.proto {
	case frame.ProtoIPIP:
		return inspect(b, true)
	case frame.ProtoIPv6:
		return inspect(b, false)
	case frame.ProtoGRE:
		return unwrapGRE(b)
	case frame.ProtoUDP:
		if len(b) < 8 {
			return quoted{}, false
		}
		return unwrapGUE(b[8:])
	}
	return quoted{}, false
}

func unwrapGRE(b []byte) (quoted, bool) {
	if len(b) < 4 {
		return quoted{}, false
	}
	flags, n := binary.BigEndian.Uint16(b), 4
	if flags == greFlagSum {
		flags, n = 0, 8
	}
	if flags != 0 || len(b) < n {
		return quoted{}, false
	}
	switch binary.BigEndian.Uint16(b[2:]) {
	case frame.EtherIPv4:
		return inspect(b[n:], true)
	case frame.EtherIPv6:
		return inspect(b[n:], false)
	}
	return quoted{}, false
}

func unwrapGUE(b []byte) (quoted, bool) {
	if len(b) < gueLen || b[0]>>5 != 0 { // version 0, no control message
		return quoted{}, false
	}
	n := gueLen + int(b[0]&0x1f)*4
	if len(b) < n || b[1] != frame.ProtoIPIP && b[1] != frame.ProtoIPv6 {
		return quoted{}, false
	}
	return inspect(b[n:], b[1] == frame.ProtoIPIP)
}

// PathMTU returns the path MTU that an ICMP error reports, and false if it reports
// none.
func PathMTU(f *frame.Frame) (int, bool) {
	if !isRelated(f) || len(f.L4()) < 8 {
		return 0, false
	}
	m := f.L4()
	switch {
	case f.Is4() && m[0] == icmpUnreachable && m[1] == fragmentationNeeded:
		return int(binary.BigEndian.Uint16(m[6:])), true
	case f.Is6() && m[0] == icmp6TooBig:
		return int(min(binary.BigEndian.Uint32(m[4:]), 65535)), true
	}
	return 0, false
}

// RelayTunnelError builds the ICMP error that tells a client about an error on the
// path of a tunnel, as if from the service: it quotes the packet as the client sent
// it (ip_vs_core.c, ip_vs_in_icmp). cause is an error for which QuotedTunnel
// reported true; mtu is the path's MTU less the tunnel's Overhead, used for an
// error about a packet that was too big. It reports false if the client need not
// know. It overwrites cause.
func RelayTunnelError(out *frame.Frame, buf []byte, cause *frame.Frame, mtu int, id uint16) bool {
	q, ok := quotedPacket(cause)
	if !ok {
		return false
	}
	p, ok := unwrap(&q)
	if !ok {
		return false
	}
	typ, code, rest, ok := translateError(cause, &p, mtu)
	if !ok {
		return false
	}
	var inner frame.Frame
	if !inner.Borrow(cause, p.b, p.is4) {
		return false
	}
	fl := p.flow()
	inner.Flow, inner.Info.Proto = fl, p.proto
	return icmpError(out, buf, &inner, fl.Dst(), typ, code, rest, id)
}

// translateError translates type, code and the word after them into the terms of the
// inner packet's IP version (RFC 2473 section 8).
func translateError(cause *frame.Frame, p *quoted, mtu int) (typ, code uint8, rest uint32, ok bool) {
	m := cause.L4()
	typ, code = m[0], m[1]
	big := cause.Is4() && typ == icmpUnreachable && code == fragmentationNeeded || cause.Is6() && typ == icmp6TooBig
	switch {
	case big && p.is4:
		df := p.b[6]&0x40 != 0 // a sender that allows fragments need not know
		return icmpUnreachable, fragmentationNeeded, uint32(mtu), df && mtu > 0
	case big:
		return icmp6TooBig, 0, uint32(mtu), mtu > 0
	case cause.Is4() == p.is4:
		known := p.is4 && (typ == icmpUnreachable || typ == icmpExceeded || typ == icmpQuench) ||
			!p.is4 && (typ == icmp6Unreachable || typ == icmp6Exceeded)
		return typ, code, binary.BigEndian.Uint32(m[4:]), known
	case p.is4: // in an IPv6 tunnel
		return icmpUnreachable, HostUnreachable, 0, typ == icmp6Unreachable || typ == icmp6Exceeded
	}
	return icmp6Unreachable, addressUnreachable, 0, typ == icmpUnreachable || typ == icmpExceeded
}

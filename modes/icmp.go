package modes

import (
	"encoding/binary"

	"uvs/forwarder/frame"
)

// ICMP and ICMPv6 message types (RFC 792, RFC 4443).
const (
	icmpEchoReply   = 0
	icmpUnreachable = 3
	icmpQuench      = 4
	icmpRedirect    = 5
	icmpEcho        = 8
	icmpExceeded    = 11
	icmpParameter   = 12

	icmp6Unreachable = 1
	icmp6TooBig      = 2
	icmp6Exceeded    = 3
	icmp6Parameter   = 4
	icmp6Echo        = 128
	icmp6EchoReply   = 129
)

func isICMP(f *frame.Frame) bool {
	return f.Info.Proto == frame.ProtoICMP && f.Is4() || f.Info.Proto == frame.ProtoICMPv6 && f.Is6()
}

// isICMPError reports whether the packet is an ICMP error, which is never
// answered by another (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
func isICMPError(f *frame.Frame) bool {
	if !isICMP(f) || len(f.L4()) < 1 {
		return false
	}
	typ := f.L4()[0]
	if f.Is6() {
		return typ < 128
	}
	switch typ {
	case icmpUnreachable, icmpQuench, icmpRedirect, icmpExceeded, icmpParameter:
		return true
	}
	return false
}

// icmpFragNeeded is the code of icmpUnreachable that is about the size of a packet alone.
const icmpFragNeeded = 4

// IsUnreachable reports whether the packet is an ICMP error that says that a destination
// cannot be reached, whatever the size of the packets.
func IsUnreachable(f *frame.Frame) bool {
	if !isICMP(f) || len(f.L4()) < 2 {
		return false
	}
	typ, code := f.L4()[0], f.L4()[1]
	return f.Is6() && typ == icmp6Unreachable || f.Is4() && typ == icmpUnreachable && code != icmpFragNeeded
}

// isRelated reports whether the packet is an ICMP error of a kind that is related
// to a connection. IPVS leaves IPv4's redirects and parameter problems to the host
// (ip_vs_core.c, ip_vs_in_icmp).
func isRelated(f *frame.Frame) bool {
	if !isICMPError(f) {
		return false
	}
	typ := f.L4()[0]
	return f.Is6() || typ == icmpUnreachable || typ == icmpQuench || typ == icmpExceeded
}

// Damaged reports whether the packet is an ICMP error with a wrong checksum. Such
// an error must not end a connection.
func Damaged(f *frame.Frame) bool {
	return isICMPError(f) && !f.Info.Fragment && !f.Offload.Partial() && !icmpSumOK(f)
}

// quoted is the packet inside an ICMP error.
type quoted struct {
	b     []byte // from its IP header to the end of the message
	is4   bool
	proto uint8
	l4    int  // offset of its transport header in b
	ports bool // the ports are there
}

// quotedPacket finds the packet that an ICMP error quotes, with its ports if it has
// any: the IP header and at least 8 bytes more are quoted, or 4, enough for SCTP's
// ports.
func quotedPacket(f *frame.Frame) (quoted, bool) {
	if !isRelated(f) || f.Info.Fragment || len(f.L4()) < 8 {
		return quoted{}, false
	}
	return inspect(f.L4()[8:], f.Is4())
}

// inspect reads the headers of a packet that may be cut short.
func inspect(b []byte, is4 bool) (quoted, bool) {
	if is4 {
		return inspect4(b)
	}
	return inspect6(b)
}

func inspect4(b []byte) (quoted, bool) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return quoted{}, false
	}
	q := quoted{b: b, is4: true, proto: b[9], l4: int(b[0]&15) * 4}
	if q.l4 < 20 || q.l4 > len(b) {
		return quoted{}, false
	}
	first := binary.BigEndian.Uint16(b[6:])&0x1fff == 0
	q.ports = first && hasPorts(q.proto) && len(b) >= q.l4+4
	return q, first
}

// inspect6 walks the extension headers.
func inspect6(b []byte) (quoted, bool) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return quoted{}, false
	}
	q := quoted{b: b, proto: b[6], l4: 40}
	for range frame.MaxExtensions {
		h := b[q.l4:]
		n, ok := frame.ExtensionLen(q.proto, h)
		if !ok || q.proto == frame.ProtoFragment && binary.BigEndian.Uint16(h[2:])&^7 != 0 {
			return quoted{}, false
		}
		if n == 0 {
			q.ports = hasPorts(q.proto) && len(h) >= 4
			return q, true
		}
		q.proto, q.l4 = h[0], q.l4+n
	}
	return quoted{}, false
}

// flow returns the quoted packet's five-tuple as it was on the wire.
func (q *quoted) flow() frame.Flow {
	var src, dst [16]byte
	if q.is4 {
		src, dst = mapped(q.b[12:16]), mapped(q.b[16:20])
	} else {
		src, dst = [16]byte(q.b[8:24]), [16]byte(q.b[24:40])
	}
	var sport, dport uint16
	if q.ports {
		sport, dport = binary.BigEndian.Uint16(q.b[q.l4:]), binary.BigEndian.Uint16(q.b[q.l4+2:])
	}
	return frame.MakeFlow(q.proto, &src, &dst, sport, dport)
}

func mapped(b []byte) [16]byte {
	a := [16]byte{10: 0xff, 11: 0xff}
	copy(a[12:], b)
	return a
}

// Embedded returns the flow of the packet that an ICMP error quotes, as that packet
// was on the wire. Look the connection up by its Reverse: the error travels in the
// other direction. It reports false for anything that is not an error about a
// connection: echo, later fragments, packets cut before their ports.
func Embedded(f *frame.Frame) (frame.Flow, bool) {
	q, ok := quotedPacket(f)
	if !ok || hasPorts(q.proto) && !q.ports {
		return frame.Flow{}, false
	}
	return q.flow(), true
}

// natError translates an ICMP error by NAT: end 0 (reply) makes addr the source of
// the message and the destination of the packet it quotes, end 1 (request) the
// reverse. As in IPVS (ip_vs_core.c, ip_vs_nat_icmp) the quoted transport checksum
// stays as it is.
func natError(f *frame.Frame, end int, addr *[16]byte, port uint16) frame.Verdict {
	q, ok := quotedPacket(f)
	if !ok {
		return frame.DropUnsupported
	}
	setEnd(f, end, addr, 0)
	rewriteQuoted(f, &q, 1-end, addr, port)
	return frame.Forward
}

// fullNATError translates an ICMP error by FULLNAT: src and dst become its source
// and destination, and in reverse those of the packet it quotes.
func fullNATError(f *frame.Frame, src *[16]byte, sport uint16, dst *[16]byte, dport uint16) frame.Verdict {
	if v := natError(f, 0, src, sport); v != frame.Forward {
		return v
	}
	return natError(f, 1, dst, dport)
}

// rewriteQuoted replaces the source (end 0) or destination (end 1) of the quoted
// packet and corrects its IP checksum and the message's checksum.
func rewriteQuoted(f *frame.Frame, q *quoted, end int, addr *[16]byte, port uint16) {
	const at = 8 // the quoted packet in the message
	if q.is4 {
		var h [60]byte
		header := h[:copy(h[:], q.b[:q.l4])]
		copy(header[12+4*end:16+4*end], addr[12:])
		frame.SumHeader4(header)
		f.SetL4(at+10, header[10:20])
	} else {
		f.SetL4(at+8+16*end, addr[:])
	}
	if q.ports {
		f.SetL4(at+q.l4+2*end, binary.BigEndian.AppendUint16(make([]byte, 0, 2), port))
	}
}

// Renumber adds to the sequence number of the TCP segment that an ICMP error
// quotes.
func Renumber(f *frame.Frame, add uint32) {
	q, ok := quotedPacket(f)
	if !ok || q.proto != frame.ProtoTCP || len(q.b) < q.l4+8 {
		return
	}
	seq := binary.BigEndian.Uint32(q.b[q.l4+4:]) + add
	f.SetL4(8+q.l4+4, binary.BigEndian.AppendUint32(make([]byte, 0, 4), seq))
}

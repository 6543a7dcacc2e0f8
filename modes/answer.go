package modes

import (
	"encoding/binary"
	"net/netip"

	"uvs/forwarder/frame"
)

// AnswerLen is how long a buffer for an answer must be, in bytes: for an ICMPv6
// error as long as the minimum MTU, or the echo of any frame that fits an MTU of
// 1500.
const AnswerLen = frame.Headroom + frame.EthernetLen + 1500

// An answer goes back to where its cause came from, unless the caller knows a route:
// it has the cause's Ethernet addresses, exchanged, and leaves by the interface the
// cause arrived on.
const (
	answerTTL = 64   // net.ipv4.ip_default_ttl and the hop limit of IPv6
	quote4    = 576  // largest IPv4 packet that carries an error (RFC 1812 section 4.3.2.3)
	quote6    = 1280 // the same for IPv6 (RFC 4443 section 2.4 c)
)

// Unreachable codes (RFC 792, RFC 4443).
const (
	HostUnreachable     = 1
	ProtocolUnreachable = 2
	PortUnreachable     = 3
	fragmentationNeeded = 4

	noRoute6           = 0
	addressUnreachable = 3
	portUnreachable6   = 4
	unknownHeader      = 1
)

// TimeExceeded builds the ICMP error for a packet whose TTL ran out in transit,
// with source address src. IPVS uses the virtual address for a request, and the
// interface's address for a reply and for all of IPv6. id is the message's IPv4
// identification. Like all functions here that build errors it reports false, and
// builds nothing, if none may be sent: about an ICMP error, a later fragment, or a
// packet from or to more than one host (RFC 1122 section 3.2.2).
func TimeExceeded(out *frame.Frame, buf []byte, cause *frame.Frame, src netip.Addr, id uint16) bool {
	if cause.Is4() {
		return icmpError(out, buf, cause, src, icmpExceeded, 0, 0, id)
	}
	return icmpError(out, buf, cause, src, icmp6Exceeded, 0, 0, id)
}

// TooBig builds the ICMP error for a packet that exceeds the path's MTU, which
// Request and Reply left in cause.MTU.
func TooBig(out *frame.Frame, buf []byte, cause *frame.Frame, src netip.Addr, id uint16) bool {
	if cause.Is4() {
		return icmpError(out, buf, cause, src, icmpUnreachable, fragmentationNeeded, uint32(cause.MTU), id)
	}
	return icmpError(out, buf, cause, src, icmp6TooBig, 0, uint32(cause.MTU), id)
}

// Unreachable builds the ICMP error for a packet that cannot be delivered. code is
// HostUnreachable (no route), ProtocolUnreachable or PortUnreachable (no server,
// no listener); Unreachable translates it to ICMPv6's code. In IPv6 an unknown
// protocol is a parameter problem that points to its number (RFC 4443 section
// 3.4).
func Unreachable(out *frame.Frame, buf []byte, cause *frame.Frame, src netip.Addr, code uint8, id uint16) bool {
	if cause.Is4() {
		return icmpError(out, buf, cause, src, icmpUnreachable, code, 0, id)
	}
	switch code {
	case PortUnreachable:
		code = portUnreachable6
	case HostUnreachable:
		code = noRoute6
	default:
		if cause.Info.Proto == frame.ProtoNoNext {
			return false
		}
		return icmpError(out, buf, cause, src, icmp6Parameter, unknownHeader, unknownAt(cause.L3()), id)
	}
	return icmpError(out, buf, cause, src, icmp6Unreachable, code, 0, id)
}

// unknownAt returns the offset in an IPv6 packet of the next-header field that
// names the first header other than the extension headers a plain host knows.
func unknownAt(ip []byte) uint32 {
	at, next := 6, 40
	for range frame.MaxExtensions {
		n, ok := frame.ExtensionLen(ip[at], ip[next:])
		if !ok || n == 0 || ip[at] == frame.ProtoAH {
			return uint32(at)
		}
		at, next = next, next+n
	}
	return uint32(at)
}

// ParameterProblem builds the ICMP error for an invalid byte at an offset of
// cause's headers (RFC 792; RFC 4443 section 3.4, which has codes besides 0).
func ParameterProblem(out *frame.Frame, buf []byte, cause *frame.Frame, src netip.Addr, code uint8, at int, id uint16) bool {
	if cause.Is4() {
		return icmpError(out, buf, cause, src, icmpParameter, code, uint32(at)<<24, id)
	}
	return icmpError(out, buf, cause, src, icmp6Parameter, code, uint32(at), id)
}

// HostDown builds the ICMP error for a packet whose next host does not answer at
// present: ICMP host unreachable, ICMPv6 address unreachable. A connection may
// survive it (RFC 1122 section 4.2.3.9).
func HostDown(out *frame.Frame, buf []byte, cause *frame.Frame, src netip.Addr, id uint16) bool {
	if cause.Is4() {
		return icmpError(out, buf, cause, src, icmpUnreachable, HostUnreachable, 0, id)
	}
	return icmpError(out, buf, cause, src, icmp6Unreachable, addressUnreachable, 0, id)
}

// icmpError builds an ICMP or ICMPv6 error in the form Linux gives it.
func icmpError(out *frame.Frame, buf []byte, cause *frame.Frame, src netip.Addr, typ, code uint8, rest uint32, id uint16) bool {
	if !answerable(cause) || src.Is4() != cause.Is4() {
		return false
	}
	packet := cause.L3()
	limit := quote6 - 48
	if cause.Is4() {
		limit = quote4 - 28
	}
	packet = packet[:min(len(packet), limit)]
	var m []byte
	if cause.Is4() {
		tos := packet[1]&0x1e | 0xc0 // the sender's TOS with precedence "internetwork control" (RFC 1812 section 4.3.2.5)
		m = start4(out, buf, cause, src, 8+len(packet), frame.ProtoICMP, tos, id, false)
	} else {
		m = start6(out, buf, cause, src, 8+len(packet), frame.ProtoICMPv6, 0)
	}
	if m == nil {
		return false
	}
	m[0], m[1] = typ, code
	binary.BigEndian.PutUint32(m[4:], rest)
	copy(m[8:], packet)
	sumICMP(out, m)
	return true
}

// answerable reports whether an error about cause may be sent to its source.
func answerable(cause *frame.Frame) bool {
	if !cause.Is4() && !cause.Is6() || isICMPError(cause) || cause.Info.FragOff != 0 {
		return false
	}
	if cause.Ethernet()[0]&1 != 0 {
		return false // broadcast or multicast on the link
	}
	src, dst := cause.Flow.Src(), cause.Flow.Dst()
	return src.IsGlobalUnicast() || src.IsLinkLocalUnicast() && dst.IsGlobalUnicast()
}

// start4 begins an IPv4 answer from src to cause's source and returns the n bytes
// after its header.
func start4(out *frame.Frame, buf []byte, cause *frame.Frame, src netip.Addr, n int, proto, tos uint8, id uint16, df bool) []byte {
	ip, ok := makeAnswer(out, buf, cause, 20+n, frame.EtherIPv4)
	if !ok {
		return nil
	}
	from := src.As4()
	return fill4(out, ip, from[:], cause.L3()[12:16], proto, tos, id, df)
}

// fill4 writes the IPv4 header of a new packet and returns what follows it.
func fill4(out *frame.Frame, ip, src, dst []byte, proto, tos uint8, id uint16, df bool) []byte {
	ip[0], ip[1] = 0x45, tos
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[4:], id)
	if df {
		ip[6] = 0x40
	}
	ip[8], ip[9] = answerTTL, proto
	copy(ip[12:], src)
	copy(ip[16:], dst)
	frame.SumHeader4(ip)
	out.SetHeaders(20, proto)
	return ip[20:]
}

// start6 is start4 for IPv6.
func start6(out *frame.Frame, buf []byte, cause *frame.Frame, src netip.Addr, n int, proto, class uint8) []byte {
	ip, ok := makeAnswer(out, buf, cause, 40+n, frame.EtherIPv6)
	if !ok {
		return nil
	}
	from := src.As16()
	return fill6(out, ip, from[:], cause.L3()[8:24], proto, class)
}

// fill6 is fill4 for IPv6.
func fill6(out *frame.Frame, ip, src, dst []byte, proto, class uint8) []byte {
	binary.BigEndian.PutUint32(ip, 6<<28|uint32(class)<<20)
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
	ip[6], ip[7] = proto, answerTTL
	copy(ip[8:], src)
	copy(ip[24:], dst)
	out.SetHeaders(40, proto)
	return ip[40:]
}

// class6 returns the traffic class of an IPv6 packet.
func class6(f *frame.Frame) uint8 { return f.L3()[0]<<4 | f.L3()[1]>>4 }

// makeAnswer makes a frame with n bytes of IP packet that goes back to where cause
// came from.
func makeAnswer(out *frame.Frame, buf []byte, cause *frame.Frame, n int, etherType uint16) ([]byte, bool) {
	ip, ok := out.Make(buf, n, etherType)
	if !ok {
		return nil, false
	}
	e := cause.Ethernet()
	out.SetMACs(e[6:12], e[0:6])
	out.Ingress, out.Egress = cause.Ingress, cause.Ingress
	return ip, true
}

// sumICMP computes the checksum of the ICMP or ICMPv6 message m.
func sumICMP(f *frame.Frame, m []byte) {
	var pseudo uint64
	if ip := f.L3(); f.Is6() {
		pseudo = frame.PseudoSum(ip[8:24], ip[24:40], frame.ProtoICMPv6, len(m))
	}
	binary.BigEndian.PutUint16(m[2:], 0)
	binary.BigEndian.PutUint16(m[2:], ^frame.Fold(frame.Sum(m, pseudo)))
}

// IsEcho reports whether f is an echo request of its IP version.
func IsEcho(f *frame.Frame) bool {
	if !isICMP(f) || f.Info.Fragment || len(f.L4()) < 8 {
		return false
	}
	typ, code := f.L4()[0], f.L4()[1]
	return code == 0 && (f.Is4() && typ == icmpEcho || f.Is6() && typ == icmp6Echo)
}

// EchoReply builds the answer to the echo request cause (RFC 792, RFC 4443 section
// 4.2), from the address it was sent to. It reports false if cause is not an echo
// request, its checksum is wrong or buf is too small for its data.
func EchoReply(out *frame.Frame, buf []byte, cause *frame.Frame, id uint16) bool {
	cause.CompleteChecksum()
	if !IsEcho(cause) || !answerable(cause) || !icmpSumOK(cause) {
		return false
	}
	data := cause.L4()
	var m []byte
	typ := uint8(icmpEchoReply)
	if cause.Is4() {
		m = start4(out, buf, cause, cause.Flow.Dst(), len(data), frame.ProtoICMP, cause.L3()[1], id, false)
	} else {
		typ = icmp6EchoReply
		m = start6(out, buf, cause, cause.Flow.Dst(), len(data), frame.ProtoICMPv6, class6(cause))
	}
	if m == nil {
		return false
	}
	copy(m, data)
	m[0] = typ
	sumICMP(out, m)
	return true
}

func icmpSumOK(f *frame.Frame) bool {
	var pseudo uint64
	if ip := f.L3(); f.Is6() {
		pseudo = frame.PseudoSum(ip[8:24], ip[24:40], frame.ProtoICMPv6, len(f.L4()))
	}
	return frame.Fold(frame.Sum(f.L4(), pseudo)) == 0xffff
}

// Reset builds the RST with which a host answers a TCP segment without a
// connection (RFC 9293 section 3.10.7.1). It reports false if cause is not a whole
// TCP segment, or is itself a RST.
func Reset(out *frame.Frame, buf []byte, cause *frame.Frame) bool {
	if cause.Info.Proto != frame.ProtoTCP || !cause.Info.HasPorts || cause.Info.TCPFlags&frame.FlagRST != 0 || !answerable(cause) {
		return false
	}
	var m []byte
	if cause.Is4() {
		m = start4(out, buf, cause, cause.Flow.Dst(), 20, frame.ProtoTCP, cause.L3()[1]&^3, 0, true)
	} else {
		m = start6(out, buf, cause, cause.Flow.Dst(), 20, frame.ProtoTCP, class6(cause)&^3)
	}
	if m == nil {
		return false
	}
	reset(m, cause.L4(), cause.Info.TCPFlags)
	sumTCP(out, m)
	return true
}

// ChecksumOK reports whether the checksum of a TCP segment or UDP datagram is
// right, or there is none to check: a host answers nothing else (RFC 9293 section
// 3.1, RFC 1122 section 4.1.3.4). It is true for other protocols.
func ChecksumOK(f *frame.Frame) bool {
	l4 := f.L4()
	switch {
	case f.Info.Fragment || f.Offload.Partial() || f.Offload.Super():
		return true
	case f.Info.Proto == frame.ProtoUDP && f.Is4() && len(l4) >= 8 && l4[6] == 0 && l4[7] == 0:
		return true // the sender computed none (RFC 768)
	case f.Info.Proto != frame.ProtoTCP && f.Info.Proto != frame.ProtoUDP:
		return true
	}
	src, dst := addresses(f)
	return frame.Fold(frame.Sum(l4, frame.PseudoSum(src, dst, f.Info.Proto, len(l4)))) == 0xffff
}

// sumTCP computes the checksum of the TCP segment m, the payload of out.
func sumTCP(out *frame.Frame, m []byte) {
	src, dst := addresses(out)
	binary.BigEndian.PutUint16(m[16:], ^frame.Fold(frame.Sum(m, frame.PseudoSum(src, dst, frame.ProtoTCP, len(m)))))
}

// addresses returns the addresses in the IP header of f.
func addresses(f *frame.Frame) (src, dst []byte) {
	ip := f.L3()
	if f.Is6() {
		return ip[8:24], ip[24:40]
	}
	return ip[12:16], ip[16:20]
}

// reset writes the TCP header m of a RST to the segment with header and data l4.
func reset(m, l4 []byte, flags uint8) {
	copy(m[0:2], l4[2:4])
	copy(m[2:4], l4[0:2])
	m[12] = 5 << 4
	if flags&frame.FlagACK != 0 {
		copy(m[4:8], l4[8:12])
		m[13] = frame.FlagRST
		return
	}
	n := uint32(len(l4) - int(l4[12]>>4)*4)
	n += uint32(flags&frame.FlagSYN)>>1 + uint32(flags&frame.FlagFIN)
	binary.BigEndian.PutUint32(m[8:], binary.BigEndian.Uint32(l4[4:])+n)
	m[13] = frame.FlagRST | frame.FlagACK
}

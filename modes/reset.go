package modes

import (
	"encoding/binary"

	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// Packets that end a connection whose server is gone. The director keeps no
// sequence numbers: it takes them from a packet of the client, the only side it
// sees with DR and TUN, and asks for one with Probe if none comes.

const (
	tcpHeader    = 20
	timestampLen = 12 // two NOPs and the timestamps option

	sctpFlagT = 1 // the verification tag is the receiver's own
)

// AbortSender builds the packet that ends cause's connection at the sender of
// cause: for TCP the RST of Reset, which the sender accepts because its number is
// the one it expects next; for SCTP an ABORT with the sender's own verification tag
// (RFC 9260 section 8.4, 8.5.1). It reports false if there is no such packet.
func AbortSender(out *frame.Frame, buf []byte, cause *frame.Frame) bool {
	if cause.Info.Proto != frame.ProtoSCTP {
		return Reset(out, buf, cause)
	}
	if !cause.Info.HasPorts || len(cause.L4()) < frame.SCTPHeaderLen || !answerable(cause) {
		return false
	}
	var m []byte
	if cause.Is4() {
		m = start4(out, buf, cause, cause.Flow.Dst(), frame.SCTPHeaderLen+frame.SCTPChunkLen, frame.ProtoSCTP, cause.L3()[1]&^3, 0, true)
	} else {
		m = start6(out, buf, cause, cause.Flow.Dst(), frame.SCTPHeaderLen+frame.SCTPChunkLen, frame.ProtoSCTP, class6(cause)&^3)
	}
	if m == nil {
		return false
	}
	l4 := cause.L4()
	copy(m[0:2], l4[2:4])
	copy(m[2:4], l4[0:2])
	abortChunk(out, m, l4, sctpFlagT)
	return true
}

func abortChunk(out *frame.Frame, m, l4 []byte, flags uint8) {
	copy(m[4:8], l4[4:8])
	m[12], m[13], m[15] = frame.SCTPAbort, flags, frame.SCTPChunkLen
	out.SumSCTP()
}

// AbortReceiver builds the packet that ends the connection of cause, a packet from
// the client, at the receiver: the RST or ABORT that the client would send in place
// of cause. It is a request like cause, for Mode.Request; its Ethernet header is
// empty. It reports false if there is no such packet.
func AbortReceiver(out *frame.Frame, buf []byte, cause *frame.Frame) bool {
	n := tcpHeader
	switch {
	case !cause.Info.HasPorts:
		return false
	case cause.Info.Proto == frame.ProtoSCTP:
		n = frame.SCTPHeaderLen + frame.SCTPChunkLen
	case cause.Info.Proto != frame.ProtoTCP:
		return false
	}
	src, dst := addresses(cause)
	l4 := cause.L4()
	m := start(out, buf, src, dst, n, cause.Info.Proto)
	if m == nil || len(l4) < min(n, tcpHeader) {
		return false
	}
	copy(m[0:4], l4[0:4])
	if cause.Info.Proto == frame.ProtoSCTP {
		abortChunk(out, m, l4, 0)
		return true
	}
	copy(m[4:8], l4[4:8])
	m[12], m[13] = tcpHeader/4<<4, frame.FlagRST
	if cause.Info.TCPFlags&frame.FlagACK != 0 {
		copy(m[8:12], l4[8:12])
		m[13] |= frame.FlagACK
	}
	sumTCP(out, m)
	return true
}

// Probe builds a TCP segment to the client of c that makes it answer with its
// current sequence numbers: an ACK outside its window, like a keep-alive (RFC 9293
// sections 3.8.4 and 3.10.7.4). Its own numbers come from seed; any will do. Its
// Ethernet header is empty.
//
// stamped adds a timestamp. On a connection with timestamps some stacks silently
// drop a segment without one (RFC 7323 section 3.2), and others, Linux 6.18 among
// them, a bare ACK whose timestamp and sequence number are both old: to get an
// answer, try both.
func Probe(out *frame.Frame, buf []byte, c *conntrack.Conn, seed uint64, stamped bool) bool {
	src, dst := c.Virtual[:], c.Client[:]
	if c.VirtualAddr().Addr().Is4() {
		src, dst = src[12:], dst[12:]
	}
	n := tcpHeader
	if stamped {
		n += timestampLen
	}
	m := start(out, buf, src, dst, n, frame.ProtoTCP)
	if m == nil {
		return false
	}
	binary.BigEndian.PutUint16(m[0:], c.VirtualPort)
	binary.BigEndian.PutUint16(m[2:], c.ClientPort)
	binary.BigEndian.PutUint32(m[4:], uint32(seed))
	binary.BigEndian.PutUint32(m[8:], uint32(seed>>32))
	m[12], m[13] = uint8(n/4)<<4, frame.FlagACK
	if stamped {
		m[20], m[21], m[22], m[23] = 1, 1, 8, 10 // NOP, NOP, kind, length
		binary.BigEndian.PutUint32(m[24:], uint32(seed>>16))
	}
	sumTCP(out, m)
	return true
}

// start begins a packet from src to dst and returns the n bytes after its IP
// header, nil if buf is too small.
func start(out *frame.Frame, buf, src, dst []byte, n int, proto uint8) []byte {
	if len(src) == 4 {
		if ip, ok := out.Make(buf, 20+n, frame.EtherIPv4); ok {
			return fill4(out, ip, src, dst, proto, 0, 0, true)
		}
		return nil
	}
	if ip, ok := out.Make(buf, 40+n, frame.EtherIPv6); ok {
		return fill6(out, ip, src, dst, proto, 0)
	}
	return nil
}

package modes

import (
	"encoding/binary"

	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// Segment is a TCP segment without data that the director makes: a step of a handshake
// that it makes in the place of one end.
type Segment struct {
	Seq, Ack    uint32
	Flags       uint8
	Window      uint16
	MSS         uint16 // 0: the option is absent, and so for the others
	Scale       uint8  // shift of windows; conntrack.NoScale: absent
	SACK        bool   // SACK is permitted
	Stamped     bool
	Stamp, Echo uint32 // time stamps
}

// MaxSegmentLen is the most that a Segment needs of a buffer, in bytes.
const MaxSegmentLen = frame.Headroom + frame.EthernetLen + 40 + tcpHeader + 4 + 12 + 4

// TCP options (RFC 9293 section 3.2, RFC 7323, RFC 2018).
const (
	optMSS       = 2
	optScale     = 3
	optSACKOK    = 4
	optTimestamp = 8
)

// Answer builds the segment as one from the destination of cause to its source. It
// reports false if cause may not be answered.
func (s *Segment) Answer(out *frame.Frame, buf []byte, cause *frame.Frame) bool {
	if !answerable(cause) {
		return false
	}
	var m []byte
	if cause.Is4() {
		m = start4(out, buf, cause, cause.Flow.Dst(), s.len(), frame.ProtoTCP, 0, 0, true)
	} else {
		m = start6(out, buf, cause, cause.Flow.Dst(), s.len(), frame.ProtoTCP, 0)
	}
	if m == nil {
		return false
	}
	l4 := cause.L4()
	copy(m[0:2], l4[2:4])
	copy(m[2:4], l4[0:2])
	s.fill(out, m)
	return true
}

// Request builds the segment as one from the client of a connection to its virtual
// address, for Mode.Request; its Ethernet header is empty. It reports false if buf is
// too small.
func (s *Segment) Request(out *frame.Frame, buf []byte, flow *frame.Flow) bool {
	src, dst := flow.Src16(), flow.Dst16()
	from, to := src[:], dst[:]
	if flow.Is4() {
		from, to = from[12:], to[12:]
	}
	m := start(out, buf, from, to, s.len(), frame.ProtoTCP)
	if m == nil {
		return false
	}
	binary.BigEndian.PutUint16(m[0:], flow.SrcPort())
	binary.BigEndian.PutUint16(m[2:], flow.DstPort())
	s.fill(out, m)
	return true
}

// len returns the length of the TCP header.
func (s *Segment) len() int {
	n := tcpHeader
	if s.MSS != 0 {
		n += 4
	}
	switch {
	case s.Stamped:
		n += timestampLen
	case s.SACK:
		n += 4
	}
	if s.Scale != conntrack.NoScale {
		n += 4
	}
	return n
}

// fill writes the TCP header m but for its ports, options in Linux's order
// (tcp_output.c, tcp_options_write).
func (s *Segment) fill(out *frame.Frame, m []byte) {
	binary.BigEndian.PutUint32(m[4:], s.Seq)
	binary.BigEndian.PutUint32(m[8:], s.Ack)
	m[12], m[13] = uint8(len(m)/4)<<4, s.Flags
	binary.BigEndian.PutUint16(m[14:], s.Window)
	o := m[tcpHeader:tcpHeader]
	if s.MSS != 0 {
		o = binary.BigEndian.AppendUint16(append(o, optMSS, 4), s.MSS)
	}
	const nop = 1
	switch {
	case s.Stamped && s.SACK:
		o = append(o, optSACKOK, 2)
	case s.Stamped:
		o = append(o, nop, nop)
	case s.SACK:
		o = append(o, nop, nop, optSACKOK, 2)
	}
	if s.Stamped {
		o = binary.BigEndian.AppendUint32(append(o, optTimestamp, timestampLen-2), s.Stamp)
		binary.BigEndian.AppendUint32(o, s.Echo) // in place: m has room
	}
	if s.Scale != conntrack.NoScale {
		copy(m[len(m)-4:], []byte{nop, optScale, 3, s.Scale})
	}
	sumTCP(out, m)
}

// Offered are the options of a SYN.
type Offered struct {
	MSS     uint16 // 536 if it has none (RFC 9293 section 3.7.1), 1220 for IPv6
	Scale   uint8  // conntrack.NoScale: none
	SACK    bool
	Stamped bool
	Stamp   uint32
}

// OfferedBy reads the options of a TCP segment with SYN.
func OfferedBy(f *frame.Frame) Offered {
	o := Offered{MSS: 536, Scale: conntrack.NoScale}
	if f.Is6() {
		o.MSS = 1220
	}
	l4 := f.L4()
	if at, size, _ := f.TCPOption(optMSS); size == 4 {
		o.MSS = max(binary.BigEndian.Uint16(l4[at+2:]), 64)
	}
	if at, size, _ := f.TCPOption(optScale); size == 3 {
		o.Scale = min(l4[at+2], 14) // RFC 7323 section 2.3
	}
	_, size, _ := f.TCPOption(optSACKOK)
	o.SACK = size == 2
	o.Stamp, o.Stamped = f.TCPTimestamp()
	return o
}

// SetScale replaces the window shift that a SYN announces.
func SetScale(f *frame.Frame, n uint8) {
	if at, size, _ := f.TCPOption(optScale); size == 3 {
		f.SetL4(at+2, []byte{n})
	}
}

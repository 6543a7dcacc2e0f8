package frame

import "encoding/binary"

// Segmenter splits a frame that is several segments in one (Offload.Super) into ordinary
// frames with complete checksums, as a network card with segmentation offload would. It
// is used where no offload can carry the frame: inside a tunnel, or towards a smaller
// MTU. A Segmenter borrows the frame it was made from and belongs to one goroutine.
type Segmenter struct {
	f       *Frame
	header  int    // bytes before the data, from the IP header on
	data    []byte // what is not in a segment yet
	size    int    // data bytes in a segment
	seq     uint32 // TCP sequence number of the next segment
	id      uint16 // IPv4 identification of the next segment
	started bool
}

// Segments starts to split f. It reports false if f is not several segments of
// TCP or UDP in one, or if its Offload contradicts its headers.
func (f *Frame) Segments() (Segmenter, bool) {
	s := Segmenter{f: f, size: int(f.Offload.GSOSize)}
	l4 := f.buf[f.l4:f.end]
	switch f.Offload.GSOType &^ GSOECN {
	case GSOTCP4, GSOTCP6:
		if f.Info.Proto != ProtoTCP || !f.Info.HasPorts || s.size == 0 {
			return s, false
		}
		s.header = f.l4 - f.l3 + int(l4[12]>>4)*4
		s.seq = binary.BigEndian.Uint32(l4[4:])
	case GSOUDPL4:
		if f.Info.Proto != ProtoUDP || !f.Info.HasPorts || s.size == 0 {
			return s, false
		}
		s.header = f.l4 - f.l3 + 8
	default:
		return s, false
	}
	if f.Is4() {
		s.id = binary.BigEndian.Uint16(f.buf[f.l3+4:])
	}
	s.data = f.buf[f.l3+s.header : f.end]
	return s, true
}

// BufferLen returns how long a buffer for one segment must be, in bytes.
func (s *Segmenter) BufferLen() int {
	return Headroom + EthernetLen + s.header + min(s.size, len(s.data))
}

// Next writes the next segment into buf, which has at least BufferLen bytes and becomes
// out's. It reports false if there are no more. out has the flow, the headers and the
// interfaces of the whole frame. The last one counts for it.
func (s *Segmenter) Next(out *Frame, buf []byte) bool {
	if len(s.data) == 0 && s.started {
		return false
	}
	n := min(s.size, len(s.data))
	part, first := s.data[:n], !s.started
	s.data, s.started = s.data[n:], true
	f := s.f
	ip := out.derive(f, buf, s.header+n)
	copy(ip, f.buf[f.l3:f.l3+s.header])
	copy(ip[s.header:], part)
	out.l4 = out.l3 + f.l4 - f.l3
	if s.lengths(out, ip); len(s.data) == 0 {
		out.Counts = f.Counts
	}
	if f.Info.Proto == ProtoTCP {
		s.tcp(out, first)
	} else {
		s.udp(out)
	}
	return true
}

// lengths corrects the IP header of a segment.
func (s *Segmenter) lengths(out *Frame, ip []byte) {
	if !out.Is4() {
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
		return
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[4:], s.id)
	s.id++
	SumHeader4(ip)
}

// tcp sets sequence number, flags and checksum of a segment. FIN and PSH stay
// on the last one, CWR on the first (RFC 3168 section 6.1.2).
func (s *Segmenter) tcp(out *Frame, first bool) {
	const flagCWR = 0x80
	l4 := out.buf[out.l4:out.end]
	binary.BigEndian.PutUint32(l4[4:], s.seq)
	s.seq += uint32(out.end - out.l3 - s.header)
	if len(s.data) > 0 {
		l4[13] &^= FlagFIN | FlagPSH
	}
	if !first {
		l4[13] &^= flagCWR
	}
	out.Info.TCPFlags = l4[13]
	src, dst := out.addresses()
	binary.BigEndian.PutUint16(l4[16:], 0)
	binary.BigEndian.PutUint16(l4[16:], ^Fold(Sum(l4, PseudoSum(src, dst, ProtoTCP, len(l4)))))
}

// udp sets length and checksum of a datagram. One that was sent without a checksum
// stays without.
func (s *Segmenter) udp(out *Frame) {
	l4 := out.buf[out.l4:out.end]
	binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	if s.f.PartialL4() || binary.BigEndian.Uint16(l4[6:]) != 0 {
		out.SumUDP(l4)
	}
}

// derive makes the frame an ordinary one in buf, with an IP packet of n bytes and everything
// else as in f, and returns the room for the packet. The caller sets l4.
func (out *Frame) derive(f *Frame, buf []byte, n int) []byte {
	out.Reset(buf, Headroom, Headroom+EthernetLen+n, EthernetLen+n)
	copy(out.buf[Headroom:], f.buf[f.start:f.start+EthernetLen])
	out.Flow, out.Info, out.Ingress, out.Egress, out.MTU = f.Flow, f.Info, f.Ingress, f.Egress, f.MTU
	out.l3 = Headroom + EthernetLen
	return out.buf[out.l3:out.end:out.end]
}

// SumHeader4 computes the checksum of the IPv4 header at the beginning of ip,
// whose length must have been checked.
func SumHeader4(ip []byte) {
	header := ip[:int(ip[0]&15)*4]
	binary.BigEndian.PutUint16(header[10:], 0)
	binary.BigEndian.PutUint16(header[10:], Checksum(header))
}

// SegmentLen returns the length in bytes of the IP packet that the frame is, or
// of each one that it will be split into.
func (f *Frame) SegmentLen() int {
	n := f.end - f.l3
	if !f.Offload.Super() {
		return n
	}
	return min(n, f.repeated()+int(f.Offload.GSOSize))
}

// repeated returns how many bytes, from the IP header on, each segment of f has
// before its data.
func (f *Frame) repeated() int {
	if f.Info.Proto == ProtoTCP && f.Info.HasPorts {
		return f.l4 - f.l3 + int(f.buf[f.l4+12]>>4)*4
	}
	return f.l4 - f.l3 + 8
}

// The most segments that a sender puts into one frame: 64 KiB of the least data
// that Linux's TCP sends in a segment (net.ipv4.tcp_min_snd_mss), and what Linux
// takes of UDP (udp.h, UDP_MAX_SEGMENTS).
const (
	maxTCPSegments = 1366
	maxUDPSegments = 128
)

// TooManySegments reports whether f is more segments in one than any sender makes:
// splitting it would delay all other frames.
func (f *Frame) TooManySegments() bool {
	most := maxTCPSegments
	switch f.Offload.GSOType &^ GSOECN {
	case GSONone:
		return false
	case GSOUDPL4:
		most = maxUDPSegments
	}
	return f.end-f.l3-f.repeated() > most*int(f.Offload.GSOSize)
}

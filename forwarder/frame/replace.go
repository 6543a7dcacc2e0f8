package frame

import "encoding/binary"

// ReplaceTCP replaces n bytes at offset at of a TCP segment, header included, by b, and
// corrects lengths and checksum; the segment may grow or shrink. In a frame that is
// several segments in one, the last of them does. It reports false, and changes
// nothing, for a frame with a wrong checksum or without room.
func (f *Frame) ReplaceTCP(at, n int, b []byte) bool {
	f.CompleteChecksum()
	l4, grow := f.L4(), len(b)-n
	if at < 20 || at+n > len(l4) || f.L3Len()+grow > 65535 || !f.PartialL4() && !f.tcpChecksumOK() {
		return false
	}
	switch {
	case grow > 0:
		if _, ok := f.InsertL4(at+n, grow); !ok {
			return false
		}
	case grow < 0:
		copy(l4[at+len(b):], l4[at+n:])
		f.Truncate(f.L3Len() + grow)
	}
	l4 = f.L4()
	copy(l4[at:], b)
	f.addLength(grow)
	f.sumTCP()
	return true
}

// tcpChecksumOK reports whether the checksum of a TCP segment is right.
func (f *Frame) tcpChecksumOK() bool {
	l4 := f.L4()
	src, dst := f.addresses()
	return Fold(Sum(l4, PseudoSum(src, dst, ProtoTCP, len(l4)))) == 0xffff
}

// sumTCP recomputes the checksum of a TCP segment, or only the pseudo-header's sum if
// it is partial.
func (f *Frame) sumTCP() {
	l4 := f.L4()
	src, dst := f.addresses()
	pseudo := PseudoSum(src, dst, ProtoTCP, len(l4))
	if f.PartialL4() {
		binary.BigEndian.PutUint16(l4[16:], Fold(pseudo))
		return
	}
	l4[16], l4[17] = 0, 0
	binary.BigEndian.PutUint16(l4[16:], ^Fold(Sum(l4, pseudo)))
}

// TCPSeq returns the sequence and acknowledgement numbers of a TCP segment.
func (f *Frame) TCPSeq() (seq, ack uint32) {
	l4 := f.L4()
	return binary.BigEndian.Uint32(l4[4:]), binary.BigEndian.Uint32(l4[8:])
}

// AddTCPSeq adds to the sequence and the acknowledgement number of a TCP segment, or of
// all segments of a frame that is several in one, and to the edges of selective
// acknowledgements (RFC 2018).
func (f *Frame) AddTCPSeq(seq, ack uint32) {
	s, a := f.TCPSeq()
	f.setWord(4, s+seq)
	f.setWord(8, a+ack)
	if ack != 0 {
		f.addSACK(ack)
	}
}

// addSACK adds to the edges of all blocks of the SACK option.
func (f *Frame) addSACK(n uint32) {
	const sack = 5
	at, size, _ := f.TCPOption(sack)
	for edge := at + 2; edge+4 <= at+size; edge += 4 {
		f.setWord(edge, binary.BigEndian.Uint32(f.L4()[edge:])+n)
	}
}

// TCPOption returns the offset in a TCP segment of the first option of a kind, and its
// length with kind and length bytes; it reports false if there is none.
func (f *Frame) TCPOption(kind uint8) (at, size int, ok bool) {
	const end, nop = 0, 1
	l4 := f.L4()
	header := min(int(l4[12]>>4)*4, len(l4))
	for at = 20; at+1 < header && l4[at] != end; at += size {
		if size = int(l4[at+1]); l4[at] == nop {
			size = 1
		} else if size < 2 || at+size > header {
			break
		} else if l4[at] == kind {
			return at, size, true
		}
	}
	return 0, 0, false
}

const (
	timestampKind = 8 // RFC 7323 section 3.2
	timestampLen  = 10
)

// TCPTimestamp returns a TCP segment's TSval, and false if it has none.
func (f *Frame) TCPTimestamp() (uint32, bool) {
	at, size, _ := f.TCPOption(timestampKind)
	if size != timestampLen {
		return 0, false
	}
	return binary.BigEndian.Uint32(f.L4()[at+2:]), true
}

// TCPEcho returns the TSecr of a TCP segment with ACK, 0 if it has no time stamps.
func (f *Frame) TCPEcho() uint32 {
	at, size, _ := f.TCPOption(timestampKind)
	if size != timestampLen {
		return 0
	}
	return binary.BigEndian.Uint32(f.L4()[at+6:])
}

// AddTCPTimestamps adds to TSval and TSecr of a TCP segment, if it has them. TSecr is
// changed only where it means something: in a segment with ACK (RFC 7323 section 3.2).
func (f *Frame) AddTCPTimestamps(val, echo uint32) {
	at, size, _ := f.TCPOption(timestampKind)
	if size != timestampLen {
		return
	}
	if val != 0 {
		f.setWord(at+2, binary.BigEndian.Uint32(f.L4()[at+2:])+val)
	}
	if echo != 0 && f.Info.TCPFlags&FlagACK != 0 {
		f.setWord(at+6, binary.BigEndian.Uint32(f.L4()[at+6:])+echo)
	}
}

// TCPWindow returns the window field of a TCP segment, unscaled.
func (f *Frame) TCPWindow() uint16 { return binary.BigEndian.Uint16(f.L4()[14:]) }

// SetTCPWindow replaces the window field.
func (f *Frame) SetTCPWindow(n uint16) {
	f.SetL4(14, []byte{byte(n >> 8), byte(n)})
}

// ClearTCPTimestamp overwrites the timestamps option with no-operations.
func (f *Frame) ClearTCPTimestamp() {
	if at, size, _ := f.TCPOption(timestampKind); size == timestampLen {
		f.SetL4(at, []byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1})
	}
}

func (f *Frame) setWord(at int, v uint32) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	f.SetL4(at, b[:])
}

package frame

import "encoding/binary"

// ReplaceTCP puts b in the place of n bytes at offset at of a TCP segment,
// header included, and corrects lengths and checksum; the segment may grow or
// shrink. It reports false, and changes nothing, for a frame that is several
// segments in one, whose checksum is wrong, or that has no room.
func (f *Frame) ReplaceTCP(at, n int, b []byte) bool {
	if f.Offload.Super() {
		return false
	}
	f.CompleteChecksum()
	l4, grow := f.L4(), len(b)-n
	src, dst := f.addresses()
	if at < 20 || at+n > len(l4) || f.L3Len()+grow > 65535 ||
		Fold(Sum(l4, PseudoSum(src, dst, ProtoTCP, len(l4)))) != 0xffff {
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
	src, dst = f.addresses()
	l4[16], l4[17] = 0, 0
	binary.BigEndian.PutUint16(l4[16:], ^Fold(Sum(l4, PseudoSum(src, dst, ProtoTCP, len(l4)))))
	return true
}

// TCPSeq returns the sequence and acknowledgement numbers of a TCP segment.
func (f *Frame) TCPSeq() (seq, ack uint32) {
	l4 := f.L4()
	return binary.BigEndian.Uint32(l4[4:]), binary.BigEndian.Uint32(l4[8:])
}

// AddTCPSeq adds to the sequence and the acknowledgement number of a TCP
// segment, or of all segments of a frame that is several in one.
func (f *Frame) AddTCPSeq(seq, ack uint32) {
	s, a := f.TCPSeq()
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], s+seq)
	binary.BigEndian.PutUint32(b[4:], a+ack)
	f.SetL4(4, b[:])
}

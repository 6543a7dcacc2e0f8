package frame

import "encoding/binary"

// SpliceTCP replaces the n bytes at offset at of a TCP segment, counted from its
// header, by b, which may be longer or shorter, and corrects lengths and
// checksums. A sender's sequence numbers are not its business. It reports false,
// and changes nothing, if the segment's checksum is wrong, which must not become
// right on the way, or where head-room or packet are too small.
func (f *Frame) SpliceTCP(at, n int, b []byte) bool {
	grown := len(b) - n
	length := f.end - f.l4
	if at < 20 || n < 0 || at+n > length || f.L3Len()+grown > 65535 || !f.tcpSumOK() {
		return false
	}
	if grown > 0 {
		if _, ok := f.InsertL4(at, grown); !ok {
			return false
		}
	} else if grown < 0 {
		l4 := f.buf[f.l4:f.end]
		copy(l4[at+len(b):], l4[at+n:])
		f.Truncate(f.L3Len() + grown)
	}
	copy(f.buf[f.l4+at:], b)
	f.addLength(grown)
	f.sumTCP(length)
	return true
}

// tcpSumOK reports whether the checksum of a TCP segment is right, or somebody
// else's to compute.
func (f *Frame) tcpSumOK() bool {
	if f.PartialL4() {
		return true
	}
	l4 := f.buf[f.l4:f.end]
	src, dst := f.addresses()
	return Fold(Sum(l4, PseudoSum(src, dst, ProtoTCP, len(l4)))) == 0xffff
}

// sumTCP makes the checksum of a TCP segment anew whose length was before.
func (f *Frame) sumTCP(before int) {
	l4 := f.buf[f.l4:f.end]
	if f.PartialL4() {
		ApplyPartial(l4[16:18], delta16(uint16(before), uint16(len(l4))))
		return
	}
	src, dst := f.addresses()
	binary.BigEndian.PutUint16(l4[16:], 0)
	binary.BigEndian.PutUint16(l4[16:], ^Fold(Sum(l4, PseudoSum(src, dst, ProtoTCP, len(l4)))))
}

package frame

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// Sum adds the 16-bit words of b to a running one's complement sum (RFC 1071).
// An odd last byte counts as the high byte of a word.
func Sum(b []byte, sum uint64) uint64 {
	var carry uint64
	for len(b) >= 32 { // four words at once: 1448 bytes in 79 instead of 184 ns
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	sum, carry = bits.Add64(sum, 0, carry)
	sum += carry
	fold := sum>>32 + sum&0xffffffff
	for len(b) >= 2 {
		fold += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		fold += uint64(b[0]) << 8
	}
	return fold
}

// Fold reduces a running sum to 16 bits, not complemented.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}

// Checksum returns the Internet checksum of b, ready for the header field.
func Checksum(b []byte) uint16 { return ^Fold(Sum(b, 0)) }

// PseudoSum returns the running sum of the pseudo-header of IPv4 (RFC 9293
// section 3.1) or IPv6 (RFC 8200 section 8.1). src and dst are 4 or 16 bytes,
// length is that of the transport header and its data.
func PseudoSum(src, dst []byte, proto uint8, length int) uint64 {
	return Sum(dst, Sum(src, uint64(proto)+uint64(length)))
}

// Delta returns the amount by which a running sum changes when the bytes old
// become new: RFC 1624 equation 3 without its complements. Both have the same,
// even length and stand at an even offset of the summed data.
func Delta(old, new []byte) uint64 {
	if len(old) == 4 { // an IPv4 address, as one 32-bit word: 2^16 is 1 in this arithmetic
		return uint64(^binary.BigEndian.Uint32(old)) + uint64(binary.BigEndian.Uint32(new))
	}
	return uint64(^Fold(Sum(old, 0))) + uint64(Fold(Sum(new, 0)))
}

// delta16 is Delta for one word in host order.
func delta16(old, new uint16) uint64 { return uint64(^old) + uint64(new) }

// Apply corrects the checksum field b[0:2] by a Delta (RFC 1624 equation 3).
func Apply(b []byte, delta uint64) {
	c := ^binary.BigEndian.Uint16(b)
	binary.BigEndian.PutUint16(b, ^Fold(uint64(c)+delta))
}

// ApplyPartial corrects a field that holds only the un-complemented sum of the
// pseudo-header, as the sender leaves it for the hardware to complete.
func ApplyPartial(b []byte, delta uint64) {
	binary.BigEndian.PutUint16(b, Fold(uint64(binary.BigEndian.Uint16(b))+delta))
}

// l4ChecksumOffset returns where in the transport header the Internet checksum
// lies, and false for a protocol that has none.
func l4ChecksumOffset(proto uint8) (int, bool) {
	switch proto {
	case ProtoTCP:
		return 16, true
	case ProtoUDP:
		return 6, true
	case ProtoICMPv6:
		return 2, true
	}
	return 0, false
}

// PartialL4 reports whether the partial checksum is the one in the frame's own
// transport header. In an encapsulated packet it may be an inner one, while the
// outer checksum is complete.
func (f *Frame) PartialL4() bool {
	if !f.Offload.Partial() {
		return false
	}
	at, ok := l4ChecksumOffset(f.Info.Proto)
	return ok && int(f.Offload.CsumStart) == f.l4-f.start && int(f.Offload.CsumOffset) == at
}

// castagnoli is the polynomial of SCTP's checksum.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// SumSCTP computes the CRC32c of an SCTP packet (RFC 9260 section 6.8), which
// covers no address and is never left partial: struct virtio_net_hdr cannot say
// that a checksum is not the Internet's.
func (f *Frame) SumSCTP() {
	l4 := f.buf[f.l4:f.end]
	if len(l4) < 12 || f.Info.FragOff != 0 {
		return
	}
	binary.LittleEndian.PutUint32(l4[8:], 0)
	binary.LittleEndian.PutUint32(l4[8:], crc32.Checksum(l4, castagnoli))
	f.Offload.Flags &^= OffloadPartial
	f.Offload.CsumStart, f.Offload.CsumOffset = 0, 0
}

// CompleteChecksum computes a checksum that the sender left partial, so the frame is
// correct without offload facts. Complete frames, and frames that are several
// segments in one, stay as they are.
func (f *Frame) CompleteChecksum() {
	if !f.Offload.Partial() || f.Offload.Super() {
		return
	}
	if f.Info.Proto == ProtoSCTP {
		f.SumSCTP()
		return
	}
	b := f.Bytes()
	start, field := int(f.Offload.CsumStart), int(f.Offload.CsumStart)+int(f.Offload.CsumOffset)
	f.Offload.Flags &^= OffloadPartial
	if start > len(b) || field+2 > len(b) {
		return
	}
	c := Checksum(b[start:])
	if c == 0 && f.Info.Proto == ProtoUDP {
		c = 0xffff // RFC 768: zero means that there is no checksum
	}
	binary.BigEndian.PutUint16(b[field:], c)
	f.Offload.CsumStart, f.Offload.CsumOffset = 0, 0
}

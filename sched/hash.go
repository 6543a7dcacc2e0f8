package sched

import (
	"encoding/binary"
	"math/bits"
)

// fold reduces an address to 32 bits as IPVS's hashes do: an IPv4 address as a
// number, an IPv6 address as the exclusive or of its four words.
func fold(a [16]byte) uint32 {
	w := binary.BigEndian.Uint32(a[12:])
	if hi, mid := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint32(a[8:]); hi != 0 || mid != 0xffff {
		w ^= uint32(hi>>32) ^ uint32(hi) ^ mid
	}
	return w
}

// hash32 is the kernel's hash_32 (linux/hash.h): the high bits of the product
// with 2^32 divided by the square of the golden ratio.
func hash32(v uint32, bits uint) uint32 { return v * 0x61c88647 >> (32 - bits) }

// hsiphash is the kernel's hsiphash of one 32-bit word (linux/siphash.h), which
// on 64-bit machines is SipHash-1-3 cut to 32 bits. mh gives both halves of the
// key the same value.
func hsiphash(v uint32, key uint64) uint32 {
	s := sip{key ^ 0x736f6d6570736575, key ^ 0x646f72616e646f6d, key ^ 0x6c7967656e657261, key ^ 0x7465646279746573}
	b := 4<<56 | uint64(v)
	s.v3 ^= b
	s.round()
	s.v0 ^= b
	s.v2 ^= 0xff
	s.round()
	s.round()
	s.round()
	return uint32(s.v0 ^ s.v1 ^ s.v2 ^ s.v3)
}

// sip is SipHash's state (Aumasson and Bernstein, 2012).
type sip struct{ v0, v1, v2, v3 uint64 }

func (s *sip) round() {
	s.v0 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 += s.v3
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 += s.v1
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v2 = bits.RotateLeft64(s.v2, 32)
}

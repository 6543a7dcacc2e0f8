package sched

import (
	"encoding/binary"
	"net/netip"
)

// fold makes 32 bits of an address as IPVS's hashes do: an IPv4 address as a
// number, the exclusive or of the four words of an IPv6 one.
func fold(a [16]byte) uint32 {
	w := binary.BigEndian.Uint32(a[12:])
	if hi, mid := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint32(a[8:]); hi != 0 || mid != 0xffff {
		w ^= uint32(hi>>32) ^ uint32(hi) ^ mid
	}
	return w
}

// unmapped is the address of a flow as it is written.
func unmapped(a [16]byte) netip.Addr { return netip.AddrFrom16(a).Unmap() }

// hash32 is the kernel's hash_32 (linux/hash.h): the high bits of the product
// with 2^32 divided by the square of the golden ratio.
func hash32(v uint32, bits uint) uint32 { return v * 0x61c88647 >> (32 - bits) }

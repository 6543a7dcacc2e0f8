package wire

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"

	"uvs/forwarder/frame"
)

// dice decide what happens to each frame. A frame takes the same number of random values
// whatever the impairment is, so one value of it does not change whom the others hit.
//
// What hosts say by themselves, when a timer of theirs runs out, has dice of its own: else
// an ARP request more or less would change which packets of a lesson are lost.
type dice struct{ traffic, unasked *rand.Rand }

// newDice returns dice that fall alike for the same seed and name.
func newDice(seed uint64, name string) dice {
	h := fnv.New64a()
	h.Write([]byte(name))
	return dice{rand.New(rand.NewPCG(seed, h.Sum64())), rand.New(rand.NewPCG(seed, ^h.Sum64()))}
}

// roll is what the dice say of one frame: where it is among all frames, from 0 to 1.
type roll struct {
	loss, reorder, duplicate, corrupt, jitter float64
	bit                                       uint64
}

func (d dice) roll(b []byte) roll {
	r := d.traffic
	if unasked(b) {
		r = d.unasked
	}
	return roll{
		loss: r.Float64(), reorder: r.Float64(), duplicate: r.Float64(),
		corrupt: r.Float64(), jitter: r.Float64(), bit: r.Uint64(),
	}
}

// unasked reports whether a frame is one that hosts send by themselves: to a group or to
// all, ARP, or neighbour discovery (RFC 4861).
func unasked(b []byte) bool {
	if len(b) < frame.EthernetLen || b[0]&1 != 0 {
		return true
	}
	etherType, at := network(b)
	switch etherType {
	case frame.EtherARP:
		return true
	case frame.EtherIPv6:
		const header, solicit, redirect = 40, 133, 137
		ip := b[at:]
		return len(ip) > header && ip[6] == frame.ProtoICMPv6 && ip[header] >= solicit && ip[header] <= redirect
	}
	return false
}

// network returns the EtherType of a frame and where its packet begins, behind VLAN tags.
func network(b []byte) (etherType uint16, at int) {
	const tag = 4
	for at = frame.EthernetLen; at <= len(b); at += tag {
		if etherType = binary.BigEndian.Uint16(b[at-2:]); etherType != frame.EtherVLAN {
			return etherType, at
		}
	}
	return 0, len(b)
}

// corrupt changes one bit of a frame: behind the IP header if it has one, where a checksum
// of the transport protocol covers it. It reports false for a frame without such a place.
func corrupt(b []byte, bit uint64) bool {
	etherType, at := network(b)
	end := len(b)
	switch ip := b[at:]; {
	case etherType == frame.EtherIPv4 && len(ip) >= 20:
		end = min(end, at+int(binary.BigEndian.Uint16(ip[2:]))) // no padding
		at += int(ip[0]&15) * 4
	case etherType == frame.EtherIPv6 && len(ip) >= 40:
		end = min(end, at+40+int(binary.BigEndian.Uint16(ip[4:])))
		at += 40
	}
	if at >= end {
		return false
	}
	bit %= uint64(end-at) * 8
	b[at+int(bit/8)] ^= 1 << (bit % 8)
	return true
}

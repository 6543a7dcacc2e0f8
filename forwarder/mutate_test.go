package forwarder

import (
	"encoding/binary"
	"math/rand/v2"

	"uvs/forwarder/frame"
)

// mutator damages packets as networks and attackers do: flipped bits, wrong lengths,
// truncated frames, overlapping fragments.
type mutator struct{ *rand.Rand }

func newMutator(seed uint64) mutator { return mutator{rand.New(rand.NewPCG(seed, 0))} }

// mutate returns a copy of an input with most frames damaged.
func (m mutator) mutate(in []byte) []byte {
	links, frames := fuzzFrames(in)
	var out []byte
	for i, f := range frames {
		b := append([]byte(nil), f.Bytes...)
		for range m.IntN(4) {
			b = m.spoil(b)
		}
		link := links[i]
		if m.IntN(20) == 0 {
			link = 3 - link
		}
		if m.IntN(8) == 0 {
			out = m.withFacts(out, link, b)
			continue
		}
		out = fuzzInput(out, link, b)
	}
	return out
}

// withFacts appends a frame with offload facts of any kind.
func (m mutator) withFacts(out []byte, link int, b []byte) []byte {
	o := frame.Offload{
		Flags: uint8(m.IntN(4)), GSOType: uint8(m.IntN(7)), HeaderLen: uint16(m.IntN(100)), GSOSize: uint16(m.IntN(1600)),
		CsumStart: uint16(m.IntN(100)), CsumOffset: uint16(m.IntN(32)),
	}
	if m.IntN(2) == 0 {
		o.CsumStart, o.CsumOffset = 34, 16
	}
	var facts [frame.OffloadLen]byte
	o.Encode(facts[:])
	out = append(out, byte(link&fuzzLink)|fuzzOffload)
	out = binary.BigEndian.AppendUint16(out, uint16(len(b)))
	out = append(out, facts[:]...)
	return append(out, b...)
}

// spoil damages a frame in one way.
func (m mutator) spoil(b []byte) []byte {
	const ip = frame.EthernetLen
	if len(b) < ip+28 {
		return b
	}
	switch m.IntN(10) {
	case 0: // it ends early
		return b[:m.IntN(len(b))]
	case 1: // it has bytes behind it
		return append(b, make([]byte, m.IntN(1600))...)
	case 2: // a bit flips
		b[m.IntN(len(b))] ^= 1 << m.IntN(8)
	case 3: // the packet's length lies
		binary.BigEndian.PutUint16(b[ip+2:], uint16(m.Uint32()))
	case 4: // it is a fragment
		binary.BigEndian.PutUint16(b[ip+6:], uint16(m.IntN(2)<<13|m.IntN(8)))
	case 5: // the header's length lies
		b[ip] = b[ip]&0xf0 | byte(m.IntN(16))
	case 6: // the protocol is another
		b[ip+9] = [...]byte{1, 6, 17, 132, 4, 41, 47, 50, 51, 58, 0, 44}[m.IntN(12)]
	case 7: // any byte of the transport header
		b[ip+20+m.IntN(min(len(b)-ip-20, 40))] = byte(m.Uint32())
	case 8: // another ethertype
		binary.BigEndian.PutUint16(b[12:], [...]uint16{0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x05dc, 0}[m.IntN(7)])
	case 9: // a new client
		b[ip+15]++
	}
	m.repair(b)
	return b
}

// repair usually recomputes the IPv4 header checksum, so that the damage behind it is
// examined.
func (m mutator) repair(b []byte) {
	p := b[frame.EthernetLen:]
	if n := int(p[0]&15) * 4; m.IntN(5) > 0 && p[0]>>4 == 4 && n >= 20 && n <= len(p) {
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], frame.Checksum(p[:n]))
	}
}

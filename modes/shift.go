package modes

import (
	"encoding/binary"

	"uvs/forwarder/frame"
)

// Shift is by how much one side's TCP sequence numbers differ before and behind
// the director because a segment of its stream was made longer or shorter. The
// zero Shift is none. It belongs to whoever locks it.
//
// The segment that changed last and what went before it have the old difference,
// what comes after it the new one; so both are kept, as a retransmission may
// come later (ip_vs_app.c, vs_fix_seq).
type Shift struct {
	from          uint32 // where the segment that changed last begins, as sent
	before, after uint32 // modulo 2^32, like sequence numbers
	any           bool
}

// Grow takes note that the segment which begins at seq became n bytes longer. A
// segment that comes again does not count again.
func (s *Shift) Grow(seq uint32, n int) {
	if s.any && int32(seq-s.from) <= 0 {
		return
	}
	s.from, s.before, s.after, s.any = seq, s.after, s.after+uint32(n), true
}

// Any reports whether there is anything to correct.
func (s *Shift) Any() bool { return s.any && (s.before != 0 || s.after != 0) }

// Seq returns the sequence number behind the director for one before it.
func (s *Shift) Seq(seq uint32) uint32 {
	if s.any && int32(seq-s.from) > 0 {
		return seq + s.after
	}
	return seq + s.before
}

// Ack returns the sequence number before the director for one behind it.
func (s *Shift) Ack(ack uint32) uint32 {
	if s.any && int32(ack-s.from-s.before) > 0 {
		return ack - s.after
	}
	return ack - s.before
}

// Forth corrects a segment of the side whose stream is shifted.
func (s *Shift) Forth(f *frame.Frame) {
	setWord(f, 4, s.Seq(binary.BigEndian.Uint32(f.L4()[4:])))
}

// Back corrects a segment of the other side: what it acknowledges, selectively
// too (RFC 2018).
func (s *Shift) Back(f *frame.Frame) {
	if f.Info.TCPFlags&frame.FlagACK == 0 {
		return
	}
	setWord(f, 8, s.Ack(binary.BigEndian.Uint32(f.L4()[8:])))
	const end, nop, sack = 0, 1, 5
	l4 := f.L4()
	header := min(int(l4[12]>>4)*4, len(l4))
	for at := 20; at+1 < header && l4[at] != end; {
		if l4[at] == nop {
			at++
			continue
		}
		size := int(l4[at+1])
		if size < 2 || at+size > header {
			return
		}
		for edge := at + 2; l4[at] == sack && edge+4 <= at+size; edge += 4 {
			setWord(f, edge, s.Ack(binary.BigEndian.Uint32(l4[edge:])))
		}
		at += size
	}
}

func setWord(f *frame.Frame, at int, v uint32) {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	f.SetL4(at, b[:])
}

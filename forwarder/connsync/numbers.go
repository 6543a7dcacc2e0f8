package connsync

import "encoding/binary"

// numbersLen is the length of the option that has Numbers, in bytes.
const numbersLen = 24

// Marks of Numbers.
const (
	markNoTimestamps = 1 << iota
	markProxied
	markSACK
	markStamped
)

func (n *Numbers) append(b []byte) []byte {
	marks := mark(n.NoTimestamps, markNoTimestamps) | mark(n.Proxied, markProxied) |
		mark(n.SACK, markSACK) | mark(n.Stamped, markStamped)
	b = append(b, marks, n.Scale, n.ServerScale, 0)
	for _, v := range [...]uint32{n.SeqOffset, n.Cookie, n.Stamp, n.ServerSeq, n.ServerStamp} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func mark(set bool, bit uint8) uint8 {
	if set {
		return bit
	}
	return 0
}

func (e *Entry) getNumbers(b []byte) (valid bool) {
	if len(b) != numbersLen {
		return false
	}
	u := func(i int) uint32 { return binary.BigEndian.Uint32(b[4+4*i:]) }
	e.HasNumbers = true
	e.Numbers = Numbers{
		NoTimestamps: b[0]&markNoTimestamps != 0, Proxied: b[0]&markProxied != 0,
		SACK: b[0]&markSACK != 0, Stamped: b[0]&markStamped != 0,
		Scale: b[1] & 15, ServerScale: b[2] & 15,
		SeqOffset: u(0), Cookie: u(1), Stamp: u(2), ServerSeq: u(3), ServerStamp: u(4),
	}
	return true
}

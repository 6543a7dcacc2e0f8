// Package cookie makes and checks SYN cookies (RFC 4987 section 3.6): sequence numbers
// from which a SYN proxy recognizes, without having kept anything, that the sender of an
// ACK got its SYN-ACK, and what the client offered in its SYN.
//
// A cookie has 8 bits of options, 1 of the secret's generation and 23 of a message
// authentication code (CBC-MAC with AES-128 over input of a fixed length): 12 of the
// flow and the options, 11 of those and the client's sequence number. Who guesses needs
// eight million tries for a connection on average. The division tells a segment whose
// predecessors were lost from one that has nothing to do with a cookie.
//
// Each generation has a secret of its own, and the last two are good. A Jar is safe for
// concurrent use.
package cookie

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"sync/atomic"

	"uvs/forwarder/frame"
)

// Options are what a cookie says about a client's SYN.
type Options struct {
	MSS     uint16 // of what Make was given, the next lower one that a cookie can say
	Scale   uint8  // shift of windows, 0 to 14; NoScale: none
	SACK    bool
	Stamped bool // the segment carries time stamps; the cookie holds only with the same
}

// NoScale stands for windows that are not scaled.
const NoScale = 15

// sizes are the maximum segment sizes that a cookie can say. A client with a smaller
// one gets the first, as from Linux (syncookies.c, msstab).
var sizes = [8]uint16{536, 1024, 1220, 1360, 1400, 1440, 1460, 8960}

// Result is what Check finds out.
type Result uint8

// Results.
const (
	Bad   Result = iota // no cookie, or too old a one
	Later               // the cookie is good, but not for the first segment after the SYN
	Good
)

// Jar holds the secrets.
type Jar struct {
	key     [16]byte
	secrets atomic.Pointer[secrets]
}

type secrets struct {
	generation uint32          // its last bit is in the cookies, and chooses the block
	block      [2]cipher.Block // of the generation and the one before
}

// Scratch is memory for one computation. It belongs to one goroutine.
type Scratch [aes.BlockSize]byte

// New returns a jar whose secrets follow from a random key, at a generation. A jar with the
// same key at the same generation, or the next, takes its cookies.
func New(key [16]byte, generation uint32) *Jar {
	j := &Jar{key: key}
	j.turn(generation)
	return j
}

// Turn makes generation the newest. The one before stays good, and no other. One goroutine
// calls it.
func (j *Jar) Turn(generation uint32) {
	if j.secrets.Load().generation != generation {
		j.turn(generation)
	}
}

func (j *Jar) turn(generation uint32) {
	s := &secrets{generation: generation}
	for _, g := range []uint32{generation, generation - 1} {
		s.block[g&1] = j.block(g)
	}
	j.secrets.Store(s)
}

// block returns the cipher of a generation, whose key is the generation's number,
// encrypted.
func (j *Jar) block(generation uint32) cipher.Block {
	key := [16]byte{'S', 'Y', 'N', ' ', 'c', 'o', 'o', 'k', 'i', 'e'}
	binary.BigEndian.PutUint32(key[12:], generation)
	newCipher(j.key).Encrypt(key[:], key[:])
	return newCipher(key)
}

func newCipher(key [16]byte) cipher.Block {
	b, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // a key of 16 bytes is always good
	}
	return b
}

const (
	generationBit = 1 << 8
	restShift     = 9
	sequenceBits  = 11
	sequenceMask  = 1<<sequenceBits - 1
)

// Make returns the cookie for the SYN of a flow with a sequence number.
func (j *Jar) Make(f *frame.Flow, seq uint32, o Options, b *Scratch) uint32 {
	s := j.secrets.Load()
	said := o.encode() | s.generation&1<<8
	flow, whole := s.sum(f, seq, said, o.Stamped, b)
	return said | flow | whole
}

// Check examines the acknowledgement, less one, of a segment with a sequence number,
// less one, and with or without time stamps.
func (j *Jar) Check(f *frame.Flow, seq, cookie uint32, stamped bool, b *Scratch) (Options, Result) {
	said := cookie & (1<<restShift - 1)
	flow, whole := j.secrets.Load().sum(f, seq, said, stamped, b)
	const wholeMask = uint32(sequenceMask) << restShift
	switch {
	case (cookie^said)&^wholeMask != flow:
		return Options{}, Bad
	case cookie&wholeMask != whole:
		return Options{}, Later
	}
	return decode(said, stamped), Good
}

// sum returns the two parts of the authentication code at their places in a cookie: that
// of the flow, and that of the sequence number besides.
func (s *secrets) sum(f *frame.Flow, seq, said uint32, stamped bool, b *Scratch) (flow, whole uint32) {
	c := s.block[said&generationBit/generationBit]
	*b = f.Src16()
	c.Encrypt(b[:], b[:])
	dst := f.Dst16()
	for i := range b {
		b[i] ^= dst[i]
	}
	c.Encrypt(b[:], b[:])
	if stamped {
		said |= 1 << restShift
	}
	b.add(0, uint32(f.SrcPort())<<16|uint32(f.DstPort()))
	b.add(4, said)
	c.Encrypt(b[:], b[:])
	flow = binary.BigEndian.Uint32(b[:]) &^ (1<<(restShift+sequenceBits) - 1)
	b.add(0, seq)
	c.Encrypt(b[:], b[:])
	whole = binary.BigEndian.Uint32(b[:]) & sequenceMask << restShift
	return flow, whole
}

func (b *Scratch) add(at int, v uint32) {
	binary.BigEndian.PutUint32(b[at:], binary.BigEndian.Uint32(b[at:])^v)
}

func (o *Options) encode() uint32 {
	i := len(sizes) - 1
	for i > 0 && sizes[i] > o.MSS {
		i--
	}
	said := uint32(i)<<5 | uint32(o.Scale&15)<<1
	if o.SACK {
		said |= 1
	}
	return said
}

func decode(said uint32, stamped bool) Options {
	return Options{MSS: sizes[said>>5&7], Scale: uint8(said >> 1 & 15), SACK: said&1 != 0, Stamped: stamped}
}

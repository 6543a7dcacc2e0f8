package connsync

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"
)

// SignatureLen is how much a signature adds to a datagram, in bytes. Leave room for it.
const SignatureLen = 8 + 8 + macLen

const macLen = 16

// Signer signs datagrams with a key that both ends have. A kernel drops them, because
// they are longer than they say. Time is since 1970.
type Signer struct {
	mac    hash.Hash
	sender uint64
	last   int64
}

// NewSigner returns a Signer. sender tells those of one key apart.
func NewSigner(key []byte, sender uint64) *Signer {
	return &Signer{mac: hmac.New(sha256.New, key), sender: sender}
}

// Sign appends to a datagram who sent it when, and a code that only those with the key can
// make (RFC 2104, with SHA-256, 16 bytes). Each datagram has a later time than those
// before.
func (s *Signer) Sign(b []byte, now time.Duration) []byte {
	s.last = max(s.last+1, int64(now))
	b = binary.BigEndian.AppendUint64(b, s.sender)
	b = binary.BigEndian.AppendUint64(b, uint64(s.last))
	s.mac.Reset()
	s.mac.Write(b)
	return append(b, s.mac.Sum(nil)[:macLen]...)
}

// Verifier checks signatures. A datagram is taken once: each has to be later than the
// last from its sender.
type Verifier struct {
	mac  hash.Hash
	last map[uint64]int64
}

// MaxSkew is how far the clocks of two directors may differ.
const MaxSkew = time.Minute

// maxSenders bounds how many senders a Verifier remembers. A process with the key is a new
// one at each start.
const maxSenders = 1024

// NewVerifier returns a Verifier for a key.
func NewVerifier(key []byte) *Verifier {
	return &Verifier{mac: hmac.New(sha256.New, key), last: map[uint64]int64{}}
}

// Check returns the datagram that was signed.
func (v *Verifier) Check(b []byte, now time.Duration) ([]byte, Refusal) {
	if len(b) < SignatureLen {
		return nil, Unsigned
	}
	at := len(b) - macLen
	v.mac.Reset()
	v.mac.Write(b[:at])
	if !hmac.Equal(v.mac.Sum(nil)[:macLen], b[at:]) {
		return nil, Unsigned
	}
	body := b[:len(b)-SignatureLen]
	sender, sent := binary.BigEndian.Uint64(b[len(body):]), int64(binary.BigEndian.Uint64(b[len(body)+8:]))
	if last, known := v.last[sender]; known && sent <= last || (now-time.Duration(sent)).Abs() > MaxSkew {
		return nil, Replayed
	}
	if len(v.last) >= maxSenders {
		v.forget(now)
	}
	v.last[sender] = sent
	return body, Taken
}

// SenderOf returns who signed a datagram that Check has taken.
func SenderOf(signed []byte) uint64 {
	return binary.BigEndian.Uint64(signed[len(signed)-SignatureLen:])
}

// forget makes room. What an old sender sent is refused by its time.
func (v *Verifier) forget(now time.Duration) {
	for sender, last := range v.last {
		if now-time.Duration(last) > MaxSkew {
			delete(v.last, sender)
		}
	}
}

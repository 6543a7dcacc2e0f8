package frame

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"
)

// slowSum is RFC 1071 as written: 16-bit words, carries folded at the end.
func slowSum(b []byte) uint16 {
	var s uint64
	for i := 0; i < len(b); i += 2 {
		w := uint64(b[i]) << 8
		if i+1 < len(b) {
			w |= uint64(b[i+1])
		}
		s += w
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func TestSumEqualsRFC1071(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes")
		if got, want := Fold(Sum(b, 0)), slowSum(b); got != want {
			t.Fatalf("Fold(Sum) = %#x, want %#x", got, want)
		}
	})
}

func TestSumOfAllOnesKeepsItsCarries(t *testing.T) {
	b := make([]byte, 64)
	for i := range b {
		b[i] = 0xff
	}
	if got := Fold(Sum(b, 0)); got != 0xffff {
		t.Fatalf("got %#x", got)
	}
}

func TestApplyEqualsRecomputation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 20, 60).Draw(t, "bytes")
		b = b[:len(b)&^1]
		b[0], b[1] = 0, 0
		binary.BigEndian.PutUint16(b, Checksum(b))
		n := 2 * rapid.IntRange(1, 8).Draw(t, "words")
		at := 2 * rapid.IntRange(1, (len(b)-n)/2).Draw(t, "at")
		fresh := rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "new")
		old := append([]byte(nil), b[at:at+n]...)
		copy(b[at:], fresh)
		Apply(b[0:2], Delta(old, fresh))
		if Fold(Sum(b, 0)) != 0xffff {
			t.Fatalf("sum of the corrected bytes is %#x", Fold(Sum(b, 0)))
		}
	})
}

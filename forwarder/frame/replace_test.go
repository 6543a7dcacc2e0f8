package frame

import (
	"bytes"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestReplaceTCPIsSplicing checks that a segment with a part replaced equals one that was sent
// with the new part, with complete and partial checksums.
func TestReplaceTCPIsSplicing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		data := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(rt, "data")
		f := plain(t, rapid.Bool().Draw(rt, "v6"), false, data)
		if rapid.Bool().Draw(rt, "partial") {
			makePartial(f)
		}
		at := rapid.IntRange(0, len(data)).Draw(rt, "at")
		n := rapid.IntRange(0, len(data)-at).Draw(rt, "n")
		part := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(rt, "part")
		if !f.ReplaceTCP(20+at, n, part) {
			rt.Fatal("was refused")
		}
		sums(t, f.Bytes())
		want := slices.Concat(data[:at], part, data[at+n:])
		if got := f.L4()[20:]; !bytes.Equal(got, want) {
			rt.Errorf("data is %x, want %x", got, want)
		}
	})
}

func TestReplaceTCPRefuses(t *testing.T) {
	for _, c := range []struct {
		because string
		damage  func(*Frame)
		at, n   int
		with    int
	}{
		{"the checksum is wrong", func(f *Frame) { f.L4()[25] ^= 1 }, 20, 1, 1},
		{"the header would be replaced", nil, 19, 1, 1},
		{"the part ends after the segment", nil, 20, 11, 1},
		{"the head-room is too small", nil, 20, 1, 5000},
	} {
		f := plain(t, false, false, []byte("0123456789"))
		if c.damage != nil {
			c.damage(f)
		}
		before := bytes.Clone(f.Bytes())
		if f.ReplaceTCP(c.at, c.n, make([]byte, c.with)) || !bytes.Equal(before, f.Bytes()) {
			t.Errorf("accepted, or changed, though %s", c.because)
		}
	}
}

// TestReplaceTCPInASuperFrame checks that the segments of a frame carry the text with its part
// replaced, and have correct checksums.
func TestReplaceTCPInASuperFrame(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 300)
	for _, c := range []struct{ at, n, with int }{{0, 5, 9}, {995, 10, 25}, {2990, 10, 3}, {1000, 1500, 0}} {
		f := plain(t, false, false, data)
		makePartial(f)
		f.Offload.GSOType, f.Offload.GSOSize, f.Offload.HeaderLen = GSOTCP4, 1000, EthernetLen+40
		part := bytes.Repeat([]byte("x"), c.with)
		if !f.ReplaceTCP(20+c.at, c.n, part) {
			t.Fatalf("%+v was refused", c)
		}
		seg, ok := f.Segments()
		if !ok {
			t.Fatalf("%+v cannot be split", c)
		}
		var got []byte
		for {
			var out Frame
			if !seg.Next(&out, make([]byte, seg.BufferLen())) {
				break
			}
			got = append(got, out.L4()[20:]...)
			if !out.tcpChecksumOK() {
				t.Errorf("%+v: a segment's checksum is wrong", c)
			}
		}
		if want := slices.Concat(data[:c.at], part, data[c.at+c.n:]); !bytes.Equal(got, want) {
			t.Errorf("%+v gives %d bytes, want %d", c, len(got), len(want))
		}
	}
}

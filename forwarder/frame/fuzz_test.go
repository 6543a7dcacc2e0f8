package frame

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
)

// FuzzReassembler reads its input as a list of fragments, each with its length before it. A
// datagram that it returns parses or is dropped with a verdict, its fragments can be
// reassembled again, and all memory is free at the end.
func FuzzReassembler(f *testing.F) {
	add := func(fs []*Frame) {
		var b []byte
		for _, g := range fs {
			b = binary.BigEndian.AppendUint16(b, uint16(g.Len()))
			b = append(b, g.Bytes()...)
		}
		f.Add(b, uint16(1500))
	}
	add(cutUp(f, datagram4(f, 4000, nil, false), 1500))
	add(cutUp(f, datagram6(f, 4000), 1500))
	all := cutUp(f, datagram4(f, 3000, nil, false), 600)
	add([]*Frame{all[3], all[0], all[1], all[1], all[5], all[2], all[4]})
	f.Fuzz(func(t *testing.T, b []byte, mtu uint16) {
		r := NewReassembler(0)
		var p Parser
		now := time.Duration(0)
		for len(b) > 2 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-2)
			buf := append(make([]byte, Headroom), b[2:2+n]...)
			b, now = b[2+n:], now+time.Second
			var f Frame
			f.Reset(buf, Headroom, len(buf), n)
			if p.Parse(&f) != Continue || !f.Info.Fragment {
				continue
			}
			r.Expire(now)
			if whole, v := r.Add(&f, now); v == Continue {
				rejoin(t, whole, int(mtu))
			}
		}
		r.Expire(time.Hour)
		if r.limit != maxCells || r.Len() != 0 {
			t.Fatalf("%d of %d cells free, %d datagrams left", r.limit, maxCells, r.Len())
		}
	})
}

// rejoin fragments a datagram and checks that reassembly restores it.
func rejoin(t *testing.T, whole *Frame, mtu int) {
	var p Parser
	if v := p.Parse(whole); v != Continue || whole.Info.Fragment {
		return // a transport header that contradicts itself, or a fragment in a fragment
	}
	c, ok := whole.Fragments(mtu, 1)
	if !ok {
		return
	}
	r := NewReassembler(0)
	want := bytes.Clone(whole.L3())
	var out Frame
	for buf := make([]byte, c.BufferLen()); c.Next(&out, buf); {
		g := out
		if v := p.Parse(&g); v != Continue {
			t.Fatalf("a fragment does not parse: %v\n%x", v, g.Bytes())
		}
		if !g.Info.Fragment {
			return // it fits in one
		}
		if again, v := r.Add(&g, 0); v == Continue {
			from := 12 // IPv4: length, flags, checksum and the like may differ
			if whole.Is6() {
				from = 8
			}
			if got := again.Bytes()[EthernetLen:]; !bytes.Equal(got[from:], want[from:]) {
				t.Fatalf("joined again it differs:\n%x\n%x", got, want)
			}
			return
		} else if v != Queued {
			t.Fatalf("own fragment: %v\n%x\nof %x, mtu %d", v, g.Bytes()[:min(80, g.Len())], want[:min(80, len(want))], mtu)
		}
	}
	t.Fatal("own fragments do not make the datagram")
}

// FuzzSegments checks that splitting any frame stays in bounds, and that the segments' data is
// the frame's.
func FuzzSegments(f *testing.F) {
	for _, v6 := range []bool{false, true} {
		for _, udp := range []bool{false, true} {
			fr := super(f, v6, udp, 4000, 1400)
			o := make([]byte, OffloadLen)
			fr.Offload.Encode(o)
			f.Add(fr.Bytes(), o)
		}
	}
	f.Fuzz(func(t *testing.T, b, offload []byte) {
		if len(offload) != OffloadLen || len(b) > MaxLen {
			return
		}
		buf := append(make([]byte, Headroom), b...)
		var fr, out Frame
		var p Parser
		fr.Reset(buf, Headroom, len(buf), len(b))
		fr.Offload.Decode(offload)
		if p.Parse(&fr) != Continue {
			return
		}
		s, ok := fr.Segments()
		if !ok {
			return
		}
		var data []byte
		want := bytes.Clone(s.data)
		for buf := make([]byte, s.BufferLen()); s.Next(&out, buf); {
			data = append(data, out.L3()[s.header:]...)
			if v := p.Parse(&out); v != Continue {
				t.Fatalf("segment does not parse: %v", v)
			}
		}
		if !bytes.Equal(data, want) {
			t.Fatal("data differs")
		}
	})
}

package frame

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"uvs/forwarder/frame/frametest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"
)

// datagram4 is an IPv4 UDP datagram with size bytes of data.
func datagram4(t testing.TB, size int, opts []layers.IPv4Option, df bool) *Frame {
	ip := ip4(layers.IPProtocolUDP)
	ip.Id, ip.Options = 700, opts
	if df {
		ip.Flags = layers.IPv4DontFragment
	}
	return parsed(t, frametest.Build(t, eth(layers.EthernetTypeIPv4), ip, &layers.UDP{SrcPort: 53, DstPort: 99}, gopacket.Payload(pattern(size))))
}

func datagram6(t testing.TB, size int) *Frame {
	return parsed(t, frametest.Build(t, eth(layers.EthernetTypeIPv6), ip6(layers.IPProtocolUDP), &layers.UDP{SrcPort: 53, DstPort: 99}, gopacket.Payload(pattern(size))))
}

// cutUp returns the fragments of f as frames of their own.
func cutUp(t testing.TB, f *Frame, mtu int) []*Frame {
	t.Helper()
	c, ok := f.Fragments(mtu, 77)
	if !ok {
		t.Fatal("cannot be cut")
	}
	var all []*Frame
	for {
		var out Frame
		if !c.Next(&out, make([]byte, c.BufferLen())) {
			return all
		}
		if out.L3Len() > mtu {
			t.Fatalf("fragment of %d bytes for an MTU of %d", out.L3Len(), mtu)
		}
		all = append(all, parsed(t, out.Bytes()))
	}
}

// join adds the fragments and returns the datagram.
func join(t testing.TB, r *Reassembler, fs []*Frame) *Frame {
	t.Helper()
	for i, f := range fs {
		whole, v := r.Add(f, 0)
		if last := i == len(fs)-1; last != (v == Continue) {
			t.Fatalf("fragment %d of %d: %v", i, len(fs), v)
		}
		if v == Continue {
			return whole
		}
	}
	return nil
}

func TestFragments4(t *testing.T) {
	record := []layers.IPv4Option{{OptionType: 7, OptionLength: 7, OptionData: make([]byte, 5)}, {OptionType: 0x94, OptionLength: 4, OptionData: []byte{0, 0}}, {OptionType: 1}}
	f := datagram4(t, 4000, record, false)
	all := cutUp(t, f, 1500)
	want := []int{0x2000, 0x2000 | 1464/8, 2928 / 8}
	if len(all) != len(want) {
		t.Fatalf("%d fragments", len(all))
	}
	for i, g := range all {
		ip := g.L3()
		if i < 2 && g.L3Len() != 32+1464 {
			t.Errorf("fragment %d is %d bytes, want %d", i, g.L3Len(), 32+1464)
		}
		if got := int(binary.BigEndian.Uint16(ip[6:])); got != want[i] {
			t.Errorf("fragment %d has flags and offset %#x, want %#x", i, got, want[i])
		}
		if binary.BigEndian.Uint16(ip[4:]) != 700 {
			t.Error("identification changed")
		}
		options := []byte{7, 7, 0, 0, 0, 0, 0, 0x94, 4, 0, 0, 1}
		if i > 0 { // RFC 791: record route is not copied, router alert is
			copy(options, []byte{1, 1, 1, 1, 1, 1, 1})
		}
		if !bytes.Equal(ip[20:32], options) {
			t.Errorf("fragment %d has options %x, want %x", i, ip[20:32], options)
		}
	}
}

func TestFragmentOfFragmentKeepsItsPlace(t *testing.T) {
	middle := cutUp(t, datagram4(t, 4000, nil, false), 1500)[1]
	all := cutUp(t, middle, 600)
	for i, g := range all {
		if !g.Info.MoreFrags {
			t.Errorf("piece %d of a fragment that others follow says it is the last", i)
		}
	}
	if all[0].Info.FragOff != 1480 || all[1].Info.FragOff != 1480+576 {
		t.Errorf("offsets %d, %d", all[0].Info.FragOff, all[1].Info.FragOff)
	}
}

func TestFragmentsRefuses(t *testing.T) {
	if _, ok := datagram4(t, 4000, nil, false).Fragments(27, 0); ok {
		t.Error("an MTU without room for data is accepted")
	}
	if _, ok := cutUp(t, datagram6(t, 4000), 1400)[0].Fragments(1280, 0); ok {
		t.Error("an IPv6 fragment is cut again")
	}
	many := frametest.Build(t, eth(layers.EthernetTypeIPv6), ip6(0), gopacket.Payload(append(append([]byte{17, 32}, make([]byte, 262)...), datagram6(t, 2000).L4()...)))
	if _, ok := parsed(t, many).Fragments(1400, 0); ok {
		t.Error("more headers than a Reassembler takes are repeated in each fragment")
	}
	f := datagram4(t, 4000, nil, false)
	f.Offload.Flags = OffloadPartial
	if _, ok := f.Fragments(1500, 0); ok {
		t.Error("a partial checksum goes into fragments")
	}
}

// TestFragmentsThenReassemble checks that reassembly in any order restores the datagram, and
// that fragmenting it again gives the same fragments.
func TestFragmentsThenReassemble(t *testing.T) {
	r := NewReassembler(FragmentMemory)
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(0, 65507).Draw(rt, "size")
		mtu := rapid.IntRange(1280, 9000).Draw(rt, "mtu")
		v6 := rapid.Bool().Draw(rt, "IPv6")
		seed := rapid.Uint64().Draw(rt, "order")
		f := datagram4(t, size, nil, false)
		if v6 {
			f = datagram6(t, size)
		} else {
			mtu -= 1200
		}
		if f.L3Len() <= mtu {
			return
		}
		all := cutUp(t, f, mtu)
		in := append([]*Frame(nil), all...)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
		whole := join(t, r, in)
		if !bytes.Equal(whole.Bytes(), f.Bytes()) {
			rt.Fatalf("joined datagram differs:\n%x\n%x", whole.Bytes()[:80], f.Bytes()[:80])
		}
		if r.Len() != 0 {
			rt.Fatal("a datagram is left over")
		}
		pieces := whole.Pieces
		whole = parsed(t, whole.Bytes())
		whole.Pieces = pieces
		for i, g := range cutUp(t, whole, 65535) {
			if !bytes.Equal(g.Bytes(), all[i].Bytes()) {
				rt.Fatalf("fragment %d differs after joining", i)
			}
		}
	})
}

func TestRefragmentSmallerWay(t *testing.T) {
	r := NewReassembler(FragmentMemory)
	whole := join(t, r, cutUp(t, datagram4(t, 4000, nil, false), 1000))
	pieces := whole.Pieces
	if pieces.Max != 996 {
		t.Errorf("largest fragment %d, want 996", pieces.Max)
	}
	f := parsed(t, whole.Bytes())
	f.Pieces = pieces
	for i, n := range []int{596, 596, 596, 596, 596, 596, 4008 - 6*576 + 20} {
		if g := cutUp(t, f, 600)[i]; g.L3Len() != n {
			t.Errorf("towards an MTU of 600 fragment %d is %d bytes, want %d", i, g.L3Len(), n)
		}
	}
	pieces.Wrap(8)
	if g := cutUp(t, f, 1500)[0]; g.L3Len() != 996 {
		t.Errorf("with a header that has no room the first fragment is %d bytes, want that of the largest that came", g.L3Len())
	}
}

func TestReassemblerHostile(t *testing.T) {
	abc := func() []*Frame { return cutUp(t, datagram4(t, 2900, nil, false), 1000) } // 976, 976, 956 bytes of data
	shift := func(f *Frame, by int) *Frame {
		b := bytes.Clone(f.Bytes())
		word := binary.BigEndian.Uint16(b[20:])
		binary.BigEndian.PutUint16(b[20:], word+uint16(by))
		sum4(b)
		return parsed(t, b)
	}
	for _, c := range []struct {
		name string
		in   func() []*Frame
		want []Verdict
	}{
		{"a fragment twice is a duplicate, and the datagram still completes", func() []*Frame { f := abc(); return []*Frame{f[0], f[0], f[2], f[2], f[1]} },
			[]Verdict{Queued, DropFragmentDup, Queued, DropFragmentDup, Continue}},
		{"an overlap at the end of another drops the datagram", func() []*Frame { f := abc(); return []*Frame{f[0], shift(f[1], -1), f[1], f[2]} },
			[]Verdict{Queued, DropFragmentBad, Queued, Queued}},
		{"an overlap at the beginning of another drops the datagram", func() []*Frame { f := abc(); return []*Frame{f[1], shift(f[0], 1)} },
			[]Verdict{Queued, DropFragmentBad}},
		{"one that covers two others drops the datagram", func() []*Frame {
			f := cutUp(t, datagram4(t, 2900, nil, false), 500)
			return []*Frame{f[1], f[3], shift(abc()[1], -60)}
		}, []Verdict{Queued, Queued, DropFragmentBad}},
		{"data after the last fragment drops the datagram", func() []*Frame { f := abc(); return []*Frame{f[2], shift(f[1], 300)} },
			[]Verdict{Queued, DropFragmentBad}},
		{"a last fragment before data that came drops the datagram", func() []*Frame { f := abc(); return []*Frame{shift(f[1], 300), f[2]} },
			[]Verdict{Queued, DropFragmentBad}},
		{"two different last fragments drop the datagram", func() []*Frame { f := abc(); return []*Frame{f[2], shift(f[2], 200)} },
			[]Verdict{Queued, DropFragmentBad}},
		{"a fragment past 65535 bytes is refused (ping of death)", func() []*Frame { f := abc(); return []*Frame{shift(f[2], 8191-244)} },
			[]Verdict{DropFragmentBad}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewReassembler(FragmentMemory)
			for i, f := range c.in() {
				if _, v := r.Add(f, 0); v != c.want[i] {
					t.Fatalf("fragment %d: %v, want %v", i, v, c.want[i])
				}
			}
		})
	}
}

func TestReassemblerDF(t *testing.T) {
	r := NewReassembler(FragmentMemory)
	all := cutUp(t, datagram4(t, 4000, nil, false), 1500)
	for i, f := range all {
		b := bytes.Clone(f.Bytes())
		b[20] |= 0x40
		sum4(b)
		all[i] = parsed(t, b)
	}
	whole := join(t, r, all)
	if whole.Bytes()[EthernetLen+6] != 0x40 {
		t.Error("DF on all fragments is lost")
	}
	pieces := whole.Pieces
	whole = parsed(t, whole.Bytes())
	whole.Pieces = pieces
	if cutUp(t, whole, 1500)[0].Info.DF {
		t.Error("fragments that leave as they came have DF, unlike Linux's")
	}
	if !cutUp(t, whole, 1400)[0].Info.DF {
		t.Error("fragments cut anew have lost DF")
	}
	all = cutUp(t, datagram4(t, 2000, nil, false), 1500)
	small := bytes.Clone(all[1].Bytes())
	small[20] |= 0x40
	sum4(small)
	if whole = join(t, r, []*Frame{all[0], parsed(t, small)}); whole.Bytes()[EthernetLen+6] != 0 {
		t.Error("DF on a small fragment only makes the datagram DF")
	}
}

func TestReassemblerTime(t *testing.T) {
	r := NewReassembler(FragmentMemory)
	all := cutUp(t, datagram4(t, 4000, nil, false), 1500)
	r.Add(all[0], 0)
	r.Expire(FragmentTimeout - 1)
	if r.Len() != 1 {
		t.Fatal("given up too early")
	}
	r.Expire(FragmentTimeout)
	if r.Len() != 0 || r.Expired != 1 {
		t.Errorf("%d datagrams left, %d fragments expired", r.Len(), r.Expired)
	}
	if _, v := r.Add(all[1], FragmentTimeout); v != Queued {
		t.Error(v)
	}
}

func TestReassemblerMemory(t *testing.T) {
	r := NewReassembler(0) // the least: one datagram in the smallest fragments
	first := cutUp(t, datagram4(t, 100, nil, false), 68)[0]
	for i := range 5000 {
		b := bytes.Clone(first.Bytes())
		binary.BigEndian.PutUint16(b[18:], uint16(i))
		sum4(b)
		if _, v := r.Add(parsed(t, b), time.Duration(i)); v != Queued {
			t.Fatal(v)
		}
	}
	if r.Len() != maxCells || r.Evicted != 5000-maxCells {
		t.Errorf("%d datagrams, %d evicted", r.Len(), r.Evicted)
	}
	r.Expire(time.Hour)
	if r.limit != maxCells || r.Len() != 0 {
		t.Errorf("cells leak: %d of %d free", r.limit, maxCells)
	}
	if join(t, r, cutUp(t, datagram4(t, 60000, nil, false), 1500)) == nil {
		t.Error("does not work any more")
	}
}

func TestReassemblerNoAllocs(t *testing.T) {
	r := NewReassembler(FragmentMemory)
	all := cutUp(t, datagram4(t, 60000, nil, false), 1500)
	buf := make([]byte, 4096)
	var out Frame
	var p Parser
	if n := testing.AllocsPerRun(50, func() {
		for _, f := range all {
			if whole, v := r.Add(f, 0); v == Continue {
				p.Parse(whole)
				c, _ := whole.Fragments(1500, 0)
				for c.Next(&out, buf) {
				}
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

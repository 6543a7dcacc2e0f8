package frame

import (
	"bytes"
	"encoding/binary"
	"testing"

	"uvs/forwarder/frame/frametest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// parsed returns the frame of b, with head-room and tail-room, parsed.
func parsed(t testing.TB, b []byte) *Frame {
	t.Helper()
	buf := append(make([]byte, Headroom), b...)
	var f Frame
	var p Parser
	f.Reset(buf, Headroom, len(buf), len(b))
	if v := p.Parse(&f); v != Continue {
		t.Fatalf("Parse = %v", v)
	}
	return &f
}

// sums fails the test if a length or checksum of an Ethernet frame is wrong.
func sums(t testing.TB, b []byte) {
	t.Helper()
	if err := frametest.Check(b, layers.LayerTypeEthernet); err != nil {
		t.Error(err)
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// super makes a frame several segments in one, with a partial checksum.
func super(t testing.TB, v6, udp bool, size, mss int) *Frame {
	proto := layers.IPProtocolTCP
	if udp {
		proto = layers.IPProtocolUDP
	}
	var l4 gopacket.SerializableLayer = &layers.TCP{SrcPort: 1025, DstPort: 80, Seq: 0xfffff000, ACK: true, PSH: true, FIN: true, CWR: true, Window: 99,
		Options: []layers.TCPOption{{OptionType: 1}, {OptionType: 1}, {OptionType: 8, OptionLength: 10, OptionData: make([]byte, 8)}}}
	if udp {
		l4 = &layers.UDP{SrcPort: 443, DstPort: 999}
	}
	var f *Frame
	if v6 {
		f = parsed(t, frametest.Build(t, eth(layers.EthernetTypeIPv6), ip6(proto), l4, gopacket.Payload(pattern(size))))
		f.Offload.GSOType = GSOTCP6
	} else {
		ip := ip4(proto)
		ip.Id = 0xfffe
		f = parsed(t, frametest.Build(t, eth(layers.EthernetTypeIPv4), ip, l4, gopacket.Payload(pattern(size))))
		f.Offload.GSOType = GSOTCP4
	}
	if udp {
		f.Offload.GSOType = GSOUDPL4
	}
	off, _ := l4ChecksumOffset(uint8(proto))
	src, dst := f.addresses()
	f.Offload.Flags, f.Offload.GSOSize = OffloadPartial, uint16(mss)
	f.Offload.CsumStart, f.Offload.CsumOffset = uint16(f.l4-f.start), uint16(off)
	binary.BigEndian.PutUint16(f.L4()[off:], Fold(PseudoSum(src, dst, uint8(proto), len(f.L4()))))
	return f
}

func TestSegments(t *testing.T) {
	for _, c := range []struct {
		name      string
		v6, udp   bool
		size, mss int
		want      int
	}{
		{"a TCP super-frame over IPv4 becomes segments with running sequence numbers", false, false, 10000, 1448, 7},
		{"a TCP super-frame over IPv6 likewise", true, false, 10000, 1428, 8},
		{"data of exactly two segments makes no third", false, false, 2896, 1448, 2},
		{"data of one segment makes one", false, false, 100, 1448, 1},
		{"a UDP super-frame becomes datagrams of its size", false, true, 4000, 1200, 4},
		{"a UDP super-frame over IPv6 likewise", true, true, 4000, 1200, 4},
		{"the largest super-frame in odd segments", false, false, 65000, 1447, 45},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := super(t, c.v6, c.udp, c.size, c.mss)
			s, ok := f.Segments()
			if !ok {
				t.Fatal("refused")
			}
			var data []byte
			var out Frame
			n, id, seq := 0, uint16(0xfffe), uint32(0xfffff000)
			for buf := make([]byte, s.BufferLen()); s.Next(&out, buf); n++ {
				if out.SegmentLen() != out.L3Len() || out.L3Len() > f.SegmentLen() {
					t.Errorf("segment %d is %d bytes, expected at most %d", n, out.L3Len(), f.SegmentLen())
				}
				sums(t, out.Bytes())
				last := n == c.want-1
				header := 8
				if !c.udp {
					l4 := out.L4()
					header = int(l4[12]>>4) * 4
					if got := binary.BigEndian.Uint32(l4[4:]); got != seq {
						t.Errorf("segment %d has seq %d, want %d", n, got, seq)
					}
					want := uint8(FlagACK)
					if last {
						want |= FlagPSH | FlagFIN
					}
					if n == 0 {
						want |= 0x80
					}
					if l4[13] != want {
						t.Errorf("segment %d has flags %#x, want %#x", n, l4[13], want)
					}
				}
				if !c.v6 && binary.BigEndian.Uint16(out.L3()[4:]) != id {
					t.Errorf("segment %d has id %d, want %d", n, binary.BigEndian.Uint16(out.L3()[4:]), id)
				}
				part := out.L4()[header:]
				id, seq = id+1, seq+uint32(len(part))
				data = append(data, part...)
			}
			if n != c.want {
				t.Errorf("%d segments, want %d", n, c.want)
			}
			if !bytes.Equal(data, pattern(c.size)) {
				t.Error("the segments' data is not the frame's")
			}
		})
	}
}

func TestSegmentsRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Frame)
	}{
		{"an ordinary frame", func(f *Frame) { f.Offload = Offload{} }},
		{"a segment size of zero", func(f *Frame) { f.Offload.GSOSize = 0 }},
		{"a type that is not the protocol's", func(f *Frame) { f.Offload.GSOType = GSOUDPL4 }},
		{"an unknown type", func(f *Frame) { f.Offload.GSOType = 9 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := super(t, false, false, 4000, 1448)
			c.edit(f)
			if _, ok := f.Segments(); ok {
				t.Error("accepted")
			}
		})
	}
}

func TestSegmentsNoAllocs(t *testing.T) {
	f := super(t, false, false, 60000, 1448)
	buf := make([]byte, 4096)
	var out Frame
	if n := testing.AllocsPerRun(20, func() {
		s, _ := f.Segments()
		for s.Next(&out, buf) {
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestTooManySegments(t *testing.T) {
	for _, c := range []struct {
		name    string
		v6, udp bool
		size    int
		mss     int
		want    bool
	}{
		{"64 KiB of TCP in segments of one byte", false, false, 60000, 1, true},
		{"over IPv6 likewise", true, false, 60000, 1, true},
		{"64 KiB in segments of the least that Linux sends", false, false, 65000, 48, false},
		{"TCP in as many segments as may be", false, false, 1366 * 10, 10, false},
		{"and a byte more", false, false, 1366*10 + 1, 10, true},
		{"UDP in as many datagrams as may be", false, true, 128 * 20, 20, false},
		{"and a byte more", false, true, 128*20 + 1, 20, true},
		{"over IPv6 likewise", true, true, 128*20 + 1, 20, true},
		{"a segment size of zero", false, false, 1000, 0, true},
		{"an ordinary super-frame", false, false, 64000, 1448, false},
	} {
		if got := super(t, c.v6, c.udp, c.size, c.mss).TooManySegments(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if f := super(t, false, false, 60000, 1); f != nil {
		f.Offload = Offload{GSOSize: 1}
		if f.TooManySegments() {
			t.Error("a frame that is one packet is shredded")
		}
	}
}

package frame

import (
	"encoding/binary"
	"net"
	"testing"

	"uvs/forwarder/frame/frametest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

func eth(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: t}
}

func ip4(p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: p, SrcIP: net.IP{172, 16, 0, 9}, DstIP: net.IP{10, 0, 0, 1}}
}

func ip6(p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: p, SrcIP: net.ParseIP("fd00:c::9"), DstIP: net.ParseIP("fd00::1")}
}

func tcpSYN() *layers.TCP { return &layers.TCP{SrcPort: 1025, DstPort: 80, SYN: true, Window: 1000} }

func edit(b []byte, f func([]byte)) []byte {
	b = append([]byte(nil), b...)
	f(b)
	return b
}

// sum4 recomputes the IPv4 header checksum after an edit.
func sum4(b []byte) {
	h := b[EthernetLen : EthernetLen+int(b[EthernetLen]&15)*4]
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], Checksum(h))
}

type parseCase struct {
	name string
	b    []byte
	want Verdict
	flow string
}

func parseCases(t testing.TB) []parseCase {
	syn4 := frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(6), tcpSYN(), gopacket.Payload("hello"))
	syn6 := frametest.Build(t, eth(layers.EthernetTypeIPv6), ip6(6), tcpSYN())
	udp4 := frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(17), &layers.UDP{SrcPort: 53, DstPort: 5353})
	opt := ip4(6)
	opt.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	const tcpFlow = "tcp 172.16.0.9:1025 > 10.0.0.1:80"
	return []parseCase{
		{"a SYN over IPv4 has its flow", syn4, Continue, tcpFlow},
		{"a SYN over IPv6 has its flow", syn6, Continue, "tcp [fd00:c::9]:1025 > [fd00::1]:80"},
		{"a UDP datagram without data is whole", udp4, Continue, "udp 172.16.0.9:53 > 10.0.0.1:5353"},
		{"Ethernet padding is cut off", append(append([]byte(nil), udp4...), make([]byte, 18)...), Continue, "udp 172.16.0.9:53 > 10.0.0.1:5353"},
		{"IP options are walked over", frametest.Build(t, eth(layers.EthernetTypeIPv4), opt, tcpSYN()), Continue, tcpFlow},
		{"a frame shorter than Ethernet is truncated", syn4[:13], DropTruncated, ""},
		{"an IPv4 header cut short is truncated", syn4[:30], DropTruncated, ""},
		{"a packet shorter than its total length is truncated", syn4[:len(syn4)-4], DropTruncated, ""},
		{"a total length below the header is malformed", edit(syn4, func(b []byte) { b[17], b[16] = 19, 0; sum4(b) }), DropMalformed, ""},
		{"an IHL below 5 is malformed", edit(syn4, func(b []byte) { b[14] = 0x44 }), DropMalformed, ""},
		{"version 5 is malformed", edit(syn4, func(b []byte) { b[14] = 0x55 }), DropMalformed, ""},
		{"a wrong IPv4 header checksum is named", edit(syn4, func(b []byte) { b[24] ^= 1 }), DropBadChecksum, ""},
		{"a TCP data offset past the end is malformed", edit(syn4, func(b []byte) { b[46] = 0xf0 }), DropMalformed, ""},
		{"a TCP data offset below 5 is malformed", edit(syn4, func(b []byte) { b[46] = 0x40 }), DropMalformed, ""},
		{"a UDP length past the end is malformed", edit(udp4, func(b []byte) { b[39] = 200 }), DropMalformed, ""},
		{"a UDP length below 8 is malformed", edit(udp4, func(b []byte) { b[39] = 7 }), DropMalformed, ""},
		{"an IPv6 packet shorter than its payload length is truncated", syn6[:len(syn6)-1], DropTruncated, ""},
		{"a tagged frame is the VLAN interface's", frametest.Build(t, eth(layers.EthernetTypeDot1Q), &layers.Dot1Q{VLANIdentifier: 7, Type: layers.EthernetTypeIPv4}, ip4(6), tcpSYN()), Pass, ""},
		{"spanning tree is none of ours", edit(syn4, func(b []byte) { b[12], b[13] = 0, 38 }), Pass, ""},
		{"an unknown EtherType is none of ours", edit(syn4, func(b []byte) { b[12], b[13] = 0x88, 0xcc }), Pass, ""},
	}
}

func TestParse(t *testing.T) {
	for _, c := range parseCases(t) {
		t.Run(c.name, func(t *testing.T) {
			var p Parser
			var f Frame
			b := append(make([]byte, Headroom), c.b...)
			f.Reset(b, Headroom, len(b), len(c.b))
			if got := p.Parse(&f); got != c.want {
				t.Fatalf("Parse = %v, want %v", got, c.want)
			}
			if c.flow != "" && f.Flow.String() != c.flow {
				t.Errorf("flow %q, want %q", f.Flow.String(), c.flow)
			}
			if c.flow != "" && !f.Info.HasPorts {
				t.Error("HasPorts is false")
			}
		})
	}
}

func TestParseCutFrameIsTruncated(t *testing.T) {
	b := frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(6), tcpSYN())
	var p Parser
	var f Frame
	f.Reset(b, 0, len(b), len(b)+1000)
	if got := p.Parse(&f); got != DropTruncated {
		t.Fatalf("Parse = %v, want %v", got, DropTruncated)
	}
}

func TestParseFrameWhoseTagThePortTookOutIsTheVLANs(t *testing.T) {
	b := frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(6), tcpSYN())
	var p Parser
	var f Frame
	f.Reset(b, 0, len(b), len(b))
	f.Info.VLAN = 7
	if got := p.Parse(&f); got != Pass || f.Info.VLAN != 7 {
		t.Fatalf("Parse = %v, VLAN %d; want %v, 7", got, f.Info.VLAN, Pass)
	}
}

func TestParseFragments(t *testing.T) {
	first := ip4(17)
	first.Flags = layers.IPv4MoreFragments
	later := ip4(17)
	later.FragOffset = 185
	v6 := append([]byte{17, 0, 0x05, 0xc9, 0, 0, 0, 1}, make([]byte, 32)...)
	cases := []struct {
		name string
		b    []byte
		off  uint16
		more bool
	}{
		{"the first fragment says that more follow", frametest.Build(t, eth(layers.EthernetTypeIPv4), first, gopacket.Payload(make([]byte, 64))), 0, true},
		{"the last fragment has an offset in bytes", frametest.Build(t, eth(layers.EthernetTypeIPv4), later, gopacket.Payload(make([]byte, 64))), 1480, false},
		{"an IPv6 fragment header is read", frametest.Build(t, eth(layers.EthernetTypeIPv6), ip6(44), gopacket.Payload(v6)), 1480, true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var p Parser
			var f Frame
			f.Reset(c.b, 0, len(c.b), len(c.b))
			if got := p.Parse(&f); got != Continue {
				t.Fatalf("Parse = %v", got)
			}
			if !f.Info.Fragment || f.Info.FragOff != c.off || f.Info.MoreFrags != c.more || f.Info.HasPorts || f.Info.Proto != 17 {
				t.Errorf("info %+v", f.Info)
			}
		})
	}
}

func TestParseDoesNotAllocate(t *testing.T) {
	var p Parser
	var f Frame
	for _, c := range parseCases(t) {
		if c.want != Continue {
			continue
		}
		n := testing.AllocsPerRun(100, func() {
			f.Reset(c.b, 0, len(c.b), len(c.b))
			p.Parse(&f)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

// FuzzParse checks that the fast path for plain frames agrees with the full decoder.
func FuzzParse(f *testing.F) {
	for _, c := range parseCases(f) {
		f.Add(c.b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4096 {
			return
		}
		var p Parser
		var short, full Frame
		short.Reset(b, 0, len(b), len(b))
		full.Reset(b, 0, len(b), len(b))
		if len(b) < EthernetLen {
			p.Parse(&short)
			return
		}
		took := short.parsePlain()
		v := p.parseFull(&full)
		if took && (v != Continue || short.Info != full.Info || short.Flow != full.Flow ||
			short.l3 != full.l3 || short.l4 != full.l4 || short.end != full.end) {
			t.Fatalf("shortcut %+v %v, full decode %v %+v %v", short.Info, short.Flow, v, full.Info, full.Flow)
		}
		if v == Continue && full.Info.EtherType != EtherARP && (full.l4 > full.end || full.end > len(b)) {
			t.Fatalf("offsets outside the frame: l3 %d l4 %d end %d of %d", full.l3, full.l4, full.end, len(b))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	plain := frametest.Build(b, eth(layers.EthernetTypeIPv4), ip4(6), tcpSYN())
	var p Parser
	var f Frame
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			f.Reset(plain, 0, len(plain), len(plain))
			p.Parse(&f)
		}
	})
	b.Run("gopacket", func(b *testing.B) {
		for b.Loop() {
			f.Reset(plain, 0, len(plain), len(plain))
			p.parseFull(&f)
		}
	})
}

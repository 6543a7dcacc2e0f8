package frame

import (
	"bytes"
	"encoding/binary"
	"testing"

	"uvs/forwarder/frame/frametest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// leavePartial replaces the TCP checksum by the pseudo-header's sum.
func leavePartial(b []byte) {
	if b[12] == 0x86 {
		binary.BigEndian.PutUint16(b[70:], Fold(PseudoSum(b[22:38], b[38:54], ProtoTCP, len(b)-54)))
		return
	}
	l4 := b[34:]
	binary.BigEndian.PutUint16(l4[16:], Fold(PseudoSum(b[26:30], b[30:34], ProtoTCP, len(l4))))
}

func TestOrdinaryFrames(t *testing.T) {
	whole := func(n int) []byte {
		return frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(6), tcpSYN(), gopacket.Payload(bytes.Repeat([]byte{9}, n)))
	}
	partial := Offload{Flags: OffloadPartial, CsumStart: 34, CsumOffset: 16}
	super := partial
	super.GSOType, super.GSOSize = GSOTCP4, 1000
	lying := partial
	lying.GSOType, lying.GSOSize = GSOUDPL4, 1000
	tests := []struct {
		name    string
		payload int
		offload Offload
		want    int
	}{
		{"a complete frame stays as it is", 100, Offload{}, 1},
		{"a partial checksum is completed", 100, partial, 1},
		{"a super-frame becomes segments", 2500, super, 3},
		{"a super-frame of one segment stays one", 10, super, 1},
		{"a frame whose facts are not its headers' cannot be sent", 2500, lying, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := whole(test.payload)
			var f Frame
			f.Reset(bytes.Clone(b), 0, len(b), len(b))
			if f.Offload = test.offload; f.Offload.Partial() {
				leavePartial(f.Bytes())
			}
			var o SoftwareOffload
			got, payload := 0, 0
			for s := o.First(&f); s != nil; s = o.Next() {
				got++
				payload += len(s) - 54
				if sum := Fold(Sum(s[34:], PseudoSum(s[26:30], s[30:34], ProtoTCP, len(s)-34))); sum != 0xffff {
					t.Errorf("segment %d has a wrong checksum", got)
				}
			}
			if got != test.want || got > 0 && payload != test.payload {
				t.Errorf("%d frames with %d bytes, want %d with %d", got, payload, test.want, test.payload)
			}
		})
	}
}

func TestInferOffload(t *testing.T) {
	small := frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(6), tcpSYN(), gopacket.Payload("hello, this is no padding"))
	large := frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(6), tcpSYN(), gopacket.Payload(make([]byte, 4000)))
	tests := []struct {
		name    string
		b       []byte
		partial bool
		mtu     int
		want    Offload
	}{
		{"a complete frame has no facts", small, false, 1500, Offload{}},
		{"the pseudo-header's sum is a partial checksum", small, true, 1500,
			Offload{Flags: OffloadPartial, CsumStart: 34, CsumOffset: 16}},
		{"TCP above the MTU is several segments", large, true, 1500,
			Offload{Flags: OffloadPartial, CsumStart: 34, CsumOffset: 16, GSOType: GSOTCP4, HeaderLen: 54, GSOSize: 1460}},
		{"IPv6 likewise", frametest.Build(t, eth(layers.EthernetTypeIPv6), ip6(6), tcpSYN(), gopacket.Payload(make([]byte, 4000))), true, 1500,
			Offload{Flags: OffloadPartial, CsumStart: 54, CsumOffset: 16, GSOType: GSOTCP6, HeaderLen: 74, GSOSize: 1440}},
		{"an MTU smaller than the headers says nothing", large, false, 30, Offload{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := bytes.Clone(test.b)
			if test.partial {
				leavePartial(b)
			}
			var f Frame
			f.Reset(b, 0, len(b), len(b))
			var p Parser
			if v := p.Parse(&f); v != Continue {
				t.Fatal(v)
			}
			if f.InferOffload(test.mtu); f.Offload != test.want {
				t.Errorf("facts %+v, want %+v", f.Offload, test.want)
			}
		})
	}
}

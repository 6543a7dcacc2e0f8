package frametest

import (
	"net"
	"testing"

	"github.com/google/gopacket/layers"

	"github.com/google/gopacket"
)

// Each byte of a packet in a tunnel counts: lengths and all checksums are verified.
func TestCheckFindsAnyChangedByte(t *testing.T) {
	outer := &layers.IPv4{Version: 4, TTL: 9, Protocol: layers.IPProtocolIPv4, SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}
	inner := &layers.IPv4{Version: 4, TTL: 9, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{10, 0, 0, 3}, DstIP: net.IP{10, 0, 0, 4}}
	b := Build(t, outer, inner, &layers.UDP{SrcPort: 53, DstPort: 53}, gopacket.Payload("no DNS"))
	if err := Check(b, layers.LayerTypeIPv4); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] ^= 0x10
		if Check(b, layers.LayerTypeIPv4) == nil {
			t.Errorf("byte %d may be anything", i)
		}
		b[i] ^= 0x10
	}
}

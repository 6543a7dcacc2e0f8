package load

import (
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// TestRepliesAreRightInTheEyesOfGopacket learns how each flow is answered from the
// frames of requests, and makes the replies.
func TestRepliesAreRightInTheEyesOfGopacket(t *testing.T) {
	const flows = 500
	requests := NewStream(Load{Size: 64, Flows: flows}, 1, testDst, testMAC, testMAC)
	s := &sink{learned: make([]ends, flows)}
	for flow := range flows {
		s.learn(uint32(flow), requests.Take(1, 0)[0].Bytes())
	}
	replies := NewStream(Load{Size: 0, Flows: flows, Reply: true}, 2, testDst, testMAC, testMAC)
	replies.answer(s.learned)
	e := expect{trial: 2, flows: flows, dstMAC: [6]byte(testMAC), virtual: testDst, reply: true}
	for range 3 * flows / Batch {
		for _, f := range replies.Take(Batch, 5) {
			p := gopacket.NewPacket(f.Bytes(), layers.LayerTypeEthernet, gopacket.Default)
			ip, udp := p.NetworkLayer().(*layers.IPv4), p.TransportLayer().(*layers.UDP)
			src, _ := netip.AddrFromSlice(ip.SrcIP)
			if netip.AddrPortFrom(src, uint16(udp.SrcPort)) != testDst {
				t.Fatalf("from %v:%v, want %v", ip.SrcIP, udp.SrcPort, testDst)
			}
			if _, _, mine, fault := e.check(f.Bytes()); !mine || fault != "" {
				t.Fatalf("mine %v: %s", mine, fault)
			}
		}
	}
	e.virtual = testServer
	if _, _, _, fault := e.check(replies.Take(1, 5)[0].Bytes()); fault == "" {
		t.Error("a reply from another than the virtual service is right")
	}
}

package load

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
)

var (
	testDst    = netip.MustParseAddrPort("198.18.0.10:4001")
	testServer = netip.MustParseAddrPort("198.19.0.100:4001")
	testMAC    = []byte{2, 0, 0, 0, 1, 1}
)

func TestStreamFramesAreRightInTheEyesOfGopacket(t *testing.T) {
	s := NewStream(Load{Size: 0, Flows: 5000}, 7, testDst, testMAC, []byte{2, 0, 0, 0, 1, 2})
	sources := map[string]bool{}
	for range 120 {
		for _, f := range s.Take(Batch, 99) {
			p := gopacket.NewPacket(f.Bytes(), layers.LayerTypeEthernet, gopacket.Default)
			if p.ErrorLayer() != nil {
				t.Fatal(p.ErrorLayer().Error())
			}
			ip, udp := p.NetworkLayer().(*layers.IPv4), p.TransportLayer().(*layers.UDP)
			_ = udp.SetNetworkLayerForChecksum(ip)
			buf := gopacket.NewSerializeBuffer()
			e := p.LinkLayer().(*layers.Ethernet)
			err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true},
				e, ip, udp, gopacket.Payload(udp.Payload))
			if err != nil || !bytes.Equal(buf.Bytes(), f.Bytes()) {
				t.Fatalf("gopacket would make another frame: %v\n%x\n%x", err, f.Bytes(), buf.Bytes())
			}
			sources[ip.SrcIP.String()+udp.SrcPort.String()] = true
		}
	}
	if len(sources) != 5000 {
		t.Errorf("%d sources, want 5000", len(sources))
	}
}

func TestSegmentsThatOpenConnectionsAreRightInTheEyesOfGopacket(t *testing.T) {
	s := NewStream(Load{Size: 64, Flows: 300, SYN: true, First: 70_000, Spread: 50}, 7, testDst, testMAC, testMAC)
	e := expect{method: DR, trial: 7, first: 70_000, flows: 300, proto: frame.ProtoTCP, dstMAC: [6]byte(testMAC)}
	destinations := map[string]bool{}
	for i := range uint32(64) {
		b := s.Take(1, 0)[0].Bytes()
		p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
		ip, tcp := p.NetworkLayer().(*layers.IPv4), p.TransportLayer().(*layers.TCP)
		_ = tcp.SetNetworkLayerForChecksum(ip)
		buf := gopacket.NewSerializeBuffer()
		err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true, FixLengths: true},
			p.LinkLayer().(*layers.Ethernet), ip, tcp, gopacket.Payload(tcp.Payload))
		if err != nil || !bytes.Equal(buf.Bytes(), b) || !tcp.SYN || tcp.ACK {
			t.Fatalf("gopacket would make another frame: %v\n%x\n%x", err, b, buf.Bytes())
		}
		destinations[ip.DstIP.String()] = true
		e.virtual = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip.DstIP)), 4001)
		if flow, seq, mine, fault := e.check(b); flow != 70_000+i || seq != 0 || !mine || fault != "" {
			t.Fatalf("flow %d, sequence %d, mine %v, fault %q", flow, seq, mine, fault)
		}
	}
	if len(destinations) < 25 {
		t.Errorf("%d destinations of 50 in 64 connections", len(destinations))
	}
}

func TestASinkFindsWhatIsWrongWithAFrame(t *testing.T) {
	ok := func(b []byte) []byte { return b }
	tests := []struct {
		name   string
		method Method
		change func([]byte) []byte
		want   string // in the fault, "" for none
	}{
		{"as it was sent, because direct routing changes only MAC addresses", DR, ok, ""},
		{"as it was sent though it should be translated", NAT, ok, "not one of the servers"},
		{"another MAC address", DR, func(b []byte) []byte { b[5]++; return b }, "MAC"},
		{"a changed byte of the payload", DR, func(b []byte) []byte { b[len(b)-1]++; return b }, "checksum is wrong"},
		{"a changed byte and a checksum that agrees", DR, func(b []byte) []byte {
			b[len(b)-2]++
			sum := binary.BigEndian.Uint16(b[udpOffset+6:])
			binary.BigEndian.PutUint16(b[udpOffset+6:], sum-256)
			return b
		}, "payload"},
		{"a changed TTL without its checksum", DR, func(b []byte) []byte { b[ipOffset+8]--; return b }, "IP header checksum"},
		{"cut", DR, func(b []byte) []byte { return b[:len(b)-1] }, "IP length"},
		{"no tunnel where one is expected", Tunnel, ok, "outer header"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := NewStream(Load{Size: 128, Flows: 10}, 7, testDst, testMAC, testMAC)
			e := expect{method: test.method, trial: 7, flows: 10, dstMAC: [6]byte(testMAC), virtual: testDst,
				servers: []netip.AddrPort{testServer}}
			_, _, mine, fault := e.check(test.change(s.Take(1, 0)[0].Bytes()))
			if !mine || !strings.Contains(fault, test.want) || (fault == "") != (test.want == "") {
				t.Errorf("mine %v, fault %q, want %q", mine, fault, test.want)
			}
		})
	}
}

func TestASinkCountsDuplicatesAndDisorder(t *testing.T) {
	st := NewStream(Load{Size: 64, Flows: 1}, 7, testDst, testMAC, testMAC)
	s := sink{last: map[uint32]uint32{}, seen: map[uint64]bool{},
		expect: expect{method: DR, trial: 7, flows: 1, dstMAC: [6]byte(testMAC), virtual: testDst}}
	var frames [][]byte
	for range 4 {
		frames = append(frames, bytes.Clone(st.Take(1, 0)[0].Bytes()))
	}
	for _, i := range []int{0, 2, 1, 3, 3} {
		s.take(frames[i], 0)
	}
	if s.checked != 5 || s.disorder != 1 || len(s.faults) != 1 || !strings.Contains(s.faults[0], "twice") {
		t.Errorf("checked %d, disorder %d, faults %q; want 5, 1, one duplicate", s.checked, s.disorder, s.faults)
	}
}

package frame

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// segment4 is a TCP segment over IPv4 in a frame with head-room.
func segment4(t *testing.T, data string) *Frame {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 9, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 1, 0, 1}, DstIP: []byte{172, 16, 0, 9}}
	tcp := &layers.TCP{SrcPort: 21, DstPort: 30001, Seq: 1, Ack: 1, ACK: true, Window: 100}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}, ip, tcp, gopacket.Payload(data)); err != nil {
		t.Fatal(err)
	}
	buf := append(make([]byte, Headroom), b.Bytes()...)
	var f Frame
	f.Reset(buf, Headroom, len(buf), len(b.Bytes()))
	var p Parser
	if v := p.Parse(&f); v != Continue {
		t.Fatal(v)
	}
	return &f
}

func TestSpliceTCP(t *testing.T) {
	const data = "227 ok (10,1,0,1,200,10)\r\n"
	for _, c := range []struct {
		because, put, want string
		partial            bool
	}{
		{"longer text moves the headers", "172,16,253,63,200,10", "227 ok (172,16,253,63,200,10)\r\n", false},
		{"shorter text moves the tail", "1,1,1,1,2,3", "227 ok (1,1,1,1,2,3)\r\n", false},
		{"text as long stays in place", "10,2,0,1,200,10", "227 ok (10,2,0,1,200,10)\r\n", false},
		{"a partial checksum covers the new length", "172,16,253,63,200,1", "227 ok (172,16,253,63,200,1)\r\n", true},
	} {
		f := segment4(t, data)
		if c.partial {
			src, dst := f.addresses()
			binary.BigEndian.PutUint16(f.L4()[16:], Fold(PseudoSum(src, dst, ProtoTCP, len(f.L4()))))
			f.Offload = Offload{Flags: OffloadPartial, CsumStart: EthernetLen + 20, CsumOffset: 16}
		}
		if !f.SpliceTCP(20+8, 15, []byte(c.put)) {
			t.Fatalf("%s: refused", c.because)
		}
		f.CompleteChecksum()
		if got := string(f.L4()[20:]); got != c.want {
			t.Errorf("%s: %q, want %q", c.because, got, c.want)
		}
		if ip := f.L3(); int(binary.BigEndian.Uint16(ip[2:])) != len(ip) || Checksum(ip[:20]) != 0 || !f.tcpSumOK() {
			t.Errorf("%s: length or checksum is wrong", c.because)
		}
		var p Parser
		if v := p.Parse(f); v != Continue || f.Flow.SrcPort() != 21 {
			t.Errorf("%s: parsed again %v", c.because, v)
		}
	}
	f := segment4(t, data)
	f.L4()[25] ^= 1
	if f.SpliceTCP(28, 15, []byte("x")) {
		t.Error("a damaged segment was made right")
	}
}

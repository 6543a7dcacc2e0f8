package forwarder

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/modes"

	"github.com/google/gopacket/layers"
)

// The tests in replay_*_test.go send packets recorded with Linux 6.1 IPVS and ipvsadm 1.31
// through a director, and compare what it sends and lists. Where the director leaves a packet
// to the host, a small host answers as the recorded one did.

// deliver puts one packet on a link and returns the frames that leave, including the host's
// answer.
func (b *testbed) deliver(link int, p []byte) []sent {
	b.t.Helper()
	passed := b.verdict(frame.Pass)
	out := b.send(link, p)
	if b.verdict(frame.Pass) != passed && len(out) == 0 {
		return b.host(link, p)
	}
	return out
}

// host is the recorded director's own stack: on the virtual addresses nobody listens, and
// other packets are routed.
func (b *testbed) host(link int, p []byte) []sent {
	var parser frame.Parser
	var f, out frame.Frame
	buf := make([]byte, 96+len(p))
	copy(buf[96:], p)
	f.Reset(buf, 96, len(buf), len(p))
	if parser.Parse(&f) != frame.Continue {
		return nil
	}
	room := make([]byte, modes.AnswerLen+len(p))
	switch f.Flow.Dst().String() {
	case "10.1.255.254", "10.9.0.1", "fd00:1::fffe", "fd00:9::1": // its own
		return nil
	}
	if !isVirtual(f.Flow.Dst()) {
		return b.routed(&f)
	}
	own := f.Flow.Dst()
	if hop, v := b.net.Lookup(f.Flow.Src()); v == frame.Continue && f.Is6() {
		own = hop.Source
	}
	b.id++
	var ok bool
	switch {
	case f.Info.Proto == frame.ProtoTCP:
		ok = modes.Reset(&out, room, &f)
	case modes.IsEcho(&f):
		ok = modes.EchoReply(&out, room, &f, b.id)
	case f.Info.Proto == frame.ProtoUDP:
		ok = modes.Unreachable(&out, room, &f, own, modes.PortUnreachable, b.id)
	case f.Info.Proto != frame.ProtoICMP && f.Info.Proto != frame.ProtoICMPv6:
		ok = modes.Unreachable(&out, room, &f, own, modes.ProtocolUnreachable, b.id)
	}
	if !ok {
		return nil
	}
	return []sent{{link: link, b: bytes.Clone(out.Bytes())}}
}

func (b *testbed) routed(f *frame.Frame) []sent {
	hop, v := b.net.Lookup(f.Flow.Dst())
	if v != frame.Continue || !f.DecrementTTL() {
		return nil
	}
	f.SetMACs(hop.DstMAC[:], hop.SrcMAC[:])
	return []sent{{link: hop.Link, b: bytes.Clone(f.Bytes())}}
}

func isVirtual(a netip.Addr) bool {
	for _, p := range []string{"10.0.0.0/24", "10.2.0.0/16", "10.3.0.0/16", "10.5.0.0/16", "fd00::/64", "fd00:2::/64", "fd00:3::/64"} {
		if netip.MustParsePrefix(p).Contains(a) {
			return true
		}
	}
	return false
}

// segment is a TCP segment of the recordings.
type segment struct {
	src, dst string
	flags    uint8
	seq, ack uint32
	data     string
}

func (b *testbed) tcp(link int, s segment) []byte {
	h := frametest.TCP(s.flags, s.seq, s.ack)
	h.Window = 8192
	return b.numbered(link, frametest.Packet{Src: s.src, Dst: s.dst, Transport: h, Data: s.data})
}

func (b *testbed) udp(link int, src, dst, data string) []byte {
	return b.numbered(link, frametest.Packet{Src: src, Dst: dst, Transport: &layers.UDP{}, Data: data})
}

// numbered builds a packet with the next identification.
func (b *testbed) numbered(link int, p frametest.Packet) []byte {
	b.id++
	p.ID = b.id
	return arriving(link, p.Bytes())
}

// arriving puts an Ethernet header before an IP packet that arrives on a link.
func arriving(link int, packet []byte) []byte {
	b := append(make([]byte, frame.EthernetLen), packet...)
	b[12], b[13] = frame.EtherIPv4>>8, frame.EtherIPv4&0xff
	if packet[0]>>4 == 6 {
		b[12], b[13] = frame.EtherIPv6>>8, frame.EtherIPv6&0xff
	}
	dst, src := clientLink.MAC, [6]byte{2, 0, 0, 2, 0, 1}
	if link == 2 {
		n := flowOf(b).Src().As16()
		dst, src = serverLink.MAC, [6]byte{2, 0, 0, 1, 0, n[15]}
	}
	copy(b, dst[:])
	copy(b[6:], src[:])
	return b
}

// picked returns the destination of the first packet to the servers, as the recordings name
// the server that was picked.
func picked(out []sent) string {
	for _, s := range out {
		if s.link == 2 {
			return flowOf(s.b).Destination().String()
		}
	}
	return ""
}

func flowOf(b []byte) *frame.Flow { return &parsed(b).Flow }

// parsed returns a frame with a copy of b.
func parsed(b []byte) *frame.Frame {
	var parser frame.Parser
	var f frame.Frame
	f.Reset(bytes.Clone(b), 0, len(b), len(b))
	parser.Parse(&f)
	return &f
}

// handshake sends the server's answer to a SYN and the client's acknowledgement.
func (b *testbed) handshake(client, virtual, server string) {
	b.deliver(2, b.tcp(2, segment{server, client, frame.FlagSYN | frame.FlagACK, 5000, 1001, ""}))
	b.deliver(1, b.tcp(1, segment{client, virtual, frame.FlagACK, 1001, 5001, ""}))
}

// lines decodes a file of JSON values, one a line.
func lines[T any](t testing.TB, file string) []T {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []T
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<24)
	for s.Scan() {
		var v T
		if err := json.Unmarshal(s.Bytes(), &v); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, v)
	}
	return all
}

package forwarder

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"testing"

	"uvs/forwarder/frame"
	"uvs/modes"
)

// The tests replay_*_test.go put packets recorded with Linux 6.1 IPVS and
// ipvsadm 1.31 through a director, and compare what it sends and lists. Where
// the director leaves a packet to the host, a small host answers as the
// recorded one did, so that silence and an answer are told apart.

// deliver puts one packet on a link and returns what came of it, the host's
// answer included.
func (b *testbed) deliver(link int, p []byte) []sent {
	b.t.Helper()
	passed := b.verdict(frame.Pass)
	out := b.send(link, p)
	if b.verdict(frame.Pass) != passed && len(out) == 0 {
		return b.host(link, p)
	}
	return out
}

// host is the recorded director's own stack: it answers for the virtual
// addresses as for addresses where nobody listens, and routes the rest.
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

// tcp and udp build the packets of the recording bench.
type segment struct {
	src, dst string
	flags    uint8
	seq, ack uint32
	data     string
}

func (b *testbed) tcp(link int, s segment) []byte {
	h := make([]byte, 20, 20+len(s.data))
	binary.BigEndian.PutUint32(h[4:], s.seq)
	binary.BigEndian.PutUint32(h[8:], s.ack)
	h[12], h[13] = 5<<4, s.flags
	binary.BigEndian.PutUint16(h[14:], 8192)
	return b.ip(link, frame.ProtoTCP, s.src, s.dst, append(h, s.data...), 16)
}

func (b *testbed) udp(link int, src, dst string) []byte {
	h := make([]byte, 8, 13)
	h[5] = 13
	return b.ip(link, frame.ProtoUDP, src, dst, append(h, "hello"...), 6)
}

// ip completes a transport header whose checksum is at sum, and puts an IP and
// an Ethernet header before it.
func (b *testbed) ip(link int, proto uint8, from, to string, l4 []byte, sum int) []byte {
	src, dst := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	binary.BigEndian.PutUint16(l4, src.Port())
	binary.BigEndian.PutUint16(l4[2:], dst.Port())
	s, d := src.Addr().AsSlice(), dst.Addr().AsSlice()
	binary.BigEndian.PutUint16(l4[sum:], ^frame.Fold(frame.Sum(l4, frame.PseudoSum(s, d, proto, len(l4)))))
	b.id++
	var h []byte
	if src.Addr().Is4() {
		h = []byte{0x45, 0, 0, 0, byte(b.id >> 8), byte(b.id), 0, 0, 64, proto, 0, 0}
		h = append(append(h, s...), d...)
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(l4)))
		frame.SumHeader4(h)
	} else {
		h = []byte{0x60, 0, 0, 0, byte(len(l4) >> 8), byte(len(l4)), proto, 64}
		h = append(append(h, s...), d...)
	}
	return append(ethernet(link, src.Addr()), append(h, l4...)...)
}

// ethernet is the header of a packet that arrives on a link from src.
func ethernet(link int, src netip.Addr) []byte {
	dst, from := clientLink.MAC, [6]byte{2, 0, 0, 2, 0, 1}
	if link == 2 {
		n := src.As16()
		dst, from = serverLink.MAC, [6]byte{2, 0, 0, 1, 0, n[15]}
	}
	h := append(append([]byte{}, dst[:]...), from[:]...)
	if src.Is6() {
		return append(h, 0x86, 0xdd)
	}
	return append(h, 8, 0)
}

// picked returns the first packet's destination that left by the server side,
// as the recordings name the server that was picked.
func picked(out []sent) string {
	for _, s := range out {
		if s.link == 2 {
			return flowOf(s.b).Destination().String()
		}
	}
	return ""
}

func flowOf(b []byte) *frame.Flow {
	var parser frame.Parser
	var f frame.Frame
	f.Reset(bytes.Clone(b), 0, len(b), len(b))
	parser.Parse(&f)
	return &f.Flow
}

// handshake answers a SYN that reached a server and has the client acknowledge.
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

package modes_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/modes"
)

// option returns the data of the TCP option of the given kind, as gopacket
// finds it.
func option(t testing.TB, ip []byte, kind layers.TCPOptionKind) []byte {
	t.Helper()
	tcp := judge(t, ip).Layer(layers.LayerTypeTCP).(*layers.TCP)
	for _, o := range tcp.Options {
		if o.OptionType == kind {
			return o.OptionData
		}
	}
	return nil
}

// TestTOA follows a connection and checks which segments carry the client's address.
func TestTOA(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		m, c := &modes.FullNAT{Kind: modes.TOAKind}, connection(v6, frame.ProtoTCP)
		want := append([]byte{0x75, 0x31}, client4.Addr().AsSlice()...)
		lower := uint16(1452)
		if v6 {
			want, lower = append([]byte{0x75, 0x31}, client6.Addr().AsSlice()...), 1440
		}
		timestamps := layers.TCPOption{OptionType: 8, OptionLength: 10, OptionData: make([]byte, 8)}
		for _, s := range []struct {
			name string
			in   packet
			has  bool
			mss  uint16
		}{
			{"the SYN is as the client sent it", packet{flags: frame.FlagSYN, opts: []layers.TCPOption{mss}}, false, 1460},
			{"the SYN-ACK announces an MSS with room for the option", packet{reply: true, flags: frame.FlagSYN | frame.FlagACK, opts: []layers.TCPOption{{OptionType: 1}, mss, timestamps}}, false, lower},
			{"the ACK that ends the handshake carries the option", packet{}, true, 0},
			{"the first data carries it, for the ACK may be lost", packet{data: []byte("GET /")}, true, 0},
			{"a RST does not", packet{flags: frame.FlagRST | frame.FlagACK}, false, 0},
			{"a server that sends its SYN-ACK again has not heard yet", packet{reply: true, flags: frame.FlagSYN | frame.FlagACK, opts: []layers.TCPOption{mss}}, false, lower},
			{"so the data again carries it", packet{data: []byte("GET /"), opts: []layers.TCPOption{timestamps}}, true, 0},
			{"the server answers", packet{reply: true, data: []byte("200")}, false, 0},
			{"and later segments are left alone", packet{data: []byte("more")}, false, 0},
			{"a SYN begins anew", packet{flags: frame.FlagSYN, opts: []layers.TCPOption{mss}}, false, 1460},
			{"and the server has to be told again", packet{}, true, 0},
			{"until it answers", packet{reply: true, data: []byte("200")}, false, 0},
		} {
			s.in.v6, s.in.full = v6, true
			f := parse(t, s.in.pack(t))
			rewrite := m.Request
			if s.in.reply {
				rewrite = m.Reply
			}
			if v := rewrite(f, c); v != frame.Forward {
				t.Fatalf("%s: %v", s.name, v)
			}
			if got := option(t, f.L3(), modes.TOAKind); s.has && !bytes.Equal(got, want) || !s.has && got != nil {
				t.Errorf("%s: option %x", s.name, got)
			}
			if got := option(t, f.L3(), layers.TCPOptionKindMSS); s.mss != 0 && binary.BigEndian.Uint16(got) != s.mss {
				t.Errorf("%s: MSS %d, want %d", s.name, binary.BigEndian.Uint16(got), s.mss)
			}
		}
		if !c.Has(conntrack.AddressSent) {
			t.Error("the connection does not know that the server was told")
		}
	}
}

func TestTOARoom(t *testing.T) {
	m, c := &modes.FullNAT{Kind: modes.TOAKind}, connection(false, frame.ProtoTCP)
	send := func(f *frame.Frame) []byte {
		f.MTU = 1500
		if v := m.Request(f, c); v != frame.Forward {
			t.Fatal(v)
		}
		if f.L3Len() > 1500 && !f.Offload.Super() {
			t.Error("longer than the MTU")
		}
		return option(t, f.L3(), modes.TOAKind)
	}
	if send(parse(t, packet{data: make([]byte, 1460)}.pack(t))) != nil {
		t.Error("the option is in a segment that has no room for it")
	}
	if send(parse(t, packet{data: make([]byte, 1452)}.pack(t))) == nil {
		t.Error("the option is not in a segment that has just room for it")
	}
	full := make([]byte, 32)
	if send(parse(t, packet{opts: []layers.TCPOption{{OptionType: 8, OptionLength: 34, OptionData: full}}}.pack(t))) != nil {
		t.Error("the option is in a header that has no room for it")
	}
}

// TestTOASuperFrame: every segment of a super-frame carries the option, and
// none is too long for it.
func TestTOASuperFrame(t *testing.T) {
	m, c := &modes.FullNAT{Kind: modes.TOAKind}, connection(false, frame.ProtoTCP)
	data := make([]byte, 20000)
	for i := range data {
		data[i] = byte(i)
	}
	f := super(parse(t, packet{data: data}.pack(t)), 1452)
	f.MTU = 1500
	if v := m.Request(f, c); v != frame.Forward {
		t.Fatal(v)
	}
	if int(f.Offload.HeaderLen) != frame.EthernetLen+20+28 {
		t.Errorf("header length %d", f.Offload.HeaderLen)
	}
	f = parseWith(t, f.L3(), f.Offload)
	s, ok := f.Segments()
	if !ok {
		t.Fatal("cannot be split")
	}
	var all []byte
	var out frame.Frame
	for buf := make([]byte, s.BufferLen()); s.Next(&out, buf); {
		if out.L3Len() > 1500 || option(t, out.L3(), modes.TOAKind) == nil {
			t.Errorf("segment of %d bytes", out.L3Len())
		}
		all = append(all, out.L4()[28:]...)
	}
	if !bytes.Equal(all, data) {
		t.Error("data differs")
	}
}

func parseWith(t testing.TB, b []byte, o frame.Offload) *frame.Frame {
	f := parse(t, b)
	f.Offload = o
	return f
}

func TestMSSOptionsThatMakeNoSense(t *testing.T) {
	for _, opts := range [][]byte{
		{2, 4, 0, 5}, {2, 3, 5, 180}, {2, 0, 0, 0}, {8, 1, 2, 4}, {3, 40, 1, 1}, {0, 2, 4, 5}, {1, 1, 1, 2}, {1, 1, 1, 8},
	} {
		b := packet{reply: true, full: true, flags: frame.FlagSYN | frame.FlagACK, opts: []layers.TCPOption{mss}}.pack(t)
		f := parse(t, b)
		f.SetL4(20, opts)
		m, c := &modes.FullNAT{Kind: modes.TOAKind}, connection(false, frame.ProtoTCP)
		if v := m.Reply(f, c); v != frame.Forward {
			t.Fatal(v)
		}
		if !bytes.Equal(f.L4()[20:24], opts) {
			t.Errorf("options %x became %x", opts, f.L4()[20:24])
		}
	}
}

// TestFullNATError: an error reaches the server from the local address, and the client from the
// service, whatever its source was; it quotes the packet as its receiver sent it.
func TestFullNATError(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		m, c := &modes.FullNAT{Kind: modes.TOAKind}, connection(v6, frame.ProtoTCP)
		request := parse(t, packet{v6: v6, flags: frame.FlagSYN}.pack(t))
		m.Request(request, c)
		answer := parse(t, packet{v6: v6, reply: true, full: true, data: []byte("x")}.pack(t))
		sent := answer.Flow
		m.Reply(answer, c)

		f := parse(t, icmpAbout(t, v6, request.L3()))
		e, ok := modes.Embedded(f)
		if !ok || e.Reverse() != reply(c) {
			t.Fatalf("about %v", &e)
		}
		if v := m.Reply(f, c); v != frame.Forward {
			t.Fatal(v)
		}
		expectError(t, f, c.Virtual, c.Client, c.RequestFlow())

		f = parse(t, icmpAbout(t, v6, answer.L3()))
		if e, _ = modes.Embedded(f); e.Reverse() != c.RequestFlow() {
			t.Fatalf("about %v", &e)
		}
		if v := m.Request(f, c); v != frame.Forward {
			t.Fatal(v)
		}
		expectError(t, f, c.Local, c.Real, sent)
	}
}

func reply(c *conntrack.Conn) frame.Flow {
	return frame.MakeFlow(c.Proto(), &c.Real, &c.Local, c.RealPort, c.LocalPort)
}

func expectError(t *testing.T, f *frame.Frame, src, dst [16]byte, quoted frame.Flow) {
	t.Helper()
	judge(t, f.L3())
	g := parse(t, f.L3())
	if g.Flow.Src16() != src || g.Flow.Dst16() != dst {
		t.Errorf("error goes %v", &g.Flow)
	}
	if e, ok := modes.Embedded(g); !ok || e != quoted {
		t.Errorf("error quotes %v, want %v", &e, &quoted)
	}
}

// TestFullNATRenumbers: datagrams of two clients with the same identification must not be mixed
// up in the server's reassembly.
func TestFullNATRenumbers(t *testing.T) {
	m, seen := &modes.FullNAT{}, map[uint16]bool{}
	r := frame.NewReassembler(frame.FragmentMemory)
	for range 3 {
		c := connection(false, frame.ProtoUDP)
		f := parse(t, packet{proto: frame.ProtoUDP, data: make([]byte, 3000)}.pack(t))
		cut, _ := f.Fragments(1500, 0)
		var out frame.Frame
		var p frame.Parser
		for buf := make([]byte, cut.BufferLen()); cut.Next(&out, buf); {
			p.Parse(&out)
			if whole, v := r.Add(&out, time.Second); v == frame.Continue {
				f = whole
				p.Parse(f)
			}
		}
		f.MTU = 1500
		if v := m.Request(f, c); v != frame.Forward {
			t.Fatal(v)
		}
		judge(t, f.L3())
		id := binary.BigEndian.Uint16(f.L3()[4:])
		if seen[id] || id == 7 {
			t.Errorf("identification %d again", id)
		}
		seen[id] = true
	}
}

// TestTOAPathMTU: the client is told an MTU with room for the option, by the
// director as by a router behind it; with another protocol, or without the option,
// it is told the path's own.
func TestTOAPathMTU(t *testing.T) {
	for _, s := range []struct {
		name      string
		kind      uint8
		proto     uint8
		v6        bool
		mtu, told int
	}{
		{"TCP over IPv4", modes.TOAKind, frame.ProtoTCP, false, 1400, 1392},
		{"TCP over IPv6", modes.TOAKind, frame.ProtoTCP, true, 1400, 1380},
		{"IPv6 has a least MTU", modes.TOAKind, frame.ProtoTCP, true, 1290, 1280},
		{"IPv4 too", modes.TOAKind, frame.ProtoTCP, false, 70, 68},
		{"a router that names none", modes.TOAKind, frame.ProtoTCP, false, 0, 0},
		{"UDP", modes.TOAKind, frame.ProtoUDP, false, 1400, 1400},
		{"without the option", 0, frame.ProtoTCP, false, 1400, 1400},
	} {
		m, c := &modes.FullNAT{Kind: s.kind}, connection(s.v6, s.proto)
		large := parse(t, packet{v6: s.v6, proto: s.proto, data: make([]byte, 1420), df: true}.pack(t))
		if large.MTU = s.mtu; s.mtu != 0 && (m.Request(large, c) != frame.DropTooBig || large.MTU != s.told) {
			t.Errorf("%s: the director tells %d, want %d", s.name, large.MTU, s.told)
		}
		small := parse(t, packet{v6: s.v6, proto: s.proto, data: []byte("x")}.pack(t))
		m.Request(small, c)
		f := parse(t, tooBigAbout(t, small.L3(), s.mtu))
		if v := m.Reply(f, c); v != frame.Forward {
			t.Fatalf("%s: %v", s.name, v)
		}
		judge(t, f.L3())
		if got, ok := modes.PathMTU(parse(t, f.L3())); !ok || got != s.told {
			t.Errorf("%s: the router's %d is told as %d, want %d", s.name, s.mtu, got, s.told)
		}
	}
}

// tooBigAbout returns a router's error about a packet that exceeds its next hop's
// MTU.
func tooBigAbout(t testing.TB, b []byte, mtu int) []byte {
	f := parse(t, b)
	f.MTU = mtu
	var out frame.Frame
	if !modes.TooBig(&out, make([]byte, modes.AnswerLen), f, f.Flow.Dst(), 1) {
		t.Fatal("no error made")
	}
	return bytes.Clone(out.L3())
}

package modes_test

import (
	"encoding/hex"
	"testing"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/modes"
)

// seeds are all recorded packets.
func seeds(f *testing.F) (all [][]byte) {
	for _, file := range []string{"testdata/xform.jsonl", "testdata/edges.jsonl"} {
		for _, r := range recordings(f, file) {
			for _, p := range r.Frames {
				b, _ := hex.DecodeString(p.Pkt)
				all = append(all, b)
			}
		}
	}
	return all
}

var fuzzed = []func() modes.Mode{
	func() modes.Mode { return modes.DR{} },
	func() modes.Mode { return modes.NAT{} },
	func() modes.Mode { return &modes.FullNAT{Kind: modes.TOAKind} },
	func() modes.Mode { return tunnel(config.IPIP, 0, false) },
	func() modes.Mode { return tunnel(config.IPIP, 0, true) },
	func() modes.Mode { return tunnel(config.GUE, config.TunnelRemCsum, false) },
	func() modes.Mode { return tunnel(config.GRE, config.TunnelCsum, true) },
}

// FuzzRewrite gives any bytes, with any offload facts, to every mode in both directions. A
// forwarded frame must parse again, and the lengths of an encapsulated one must be right.
func FuzzRewrite(f *testing.F) {
	for i, b := range seeds(f) {
		f.Add(b, uint8(i), i%2 == 0, []byte(nil))
	}
	f.Add(packet{data: make([]byte, 3000)}.pack(f), uint8(5), false, []byte{1, 1, 54, 0, 180, 5, 34, 0, 16, 0})
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, reply bool, offload []byte) {
		if len(b) == 0 || len(b) > 65535 {
			return
		}
		fr := frameOf(b)
		if len(offload) == frame.OffloadLen {
			fr.Offload.Decode(offload)
		}
		var p frame.Parser
		if p.Parse(fr) != frame.Continue {
			return
		}
		fr.MTU = 1500 - int(kind)
		m := fuzzed[int(kind)%len(fuzzed)]()
		if fr.Offload.Super() && !m.Whole() {
			segment(t, fr)
			return
		}
		rewrite := m.Request
		if reply {
			rewrite = m.Reply
		}
		switch v := rewrite(fr, connection(fr.Is6(), fr.Info.Proto)); v {
		case frame.Forward:
			again(t, fr)
		case frame.Continue, frame.Answered, frame.Queued:
			t.Fatalf("verdict %v", v)
		}
	})
}

// segment splits a frame and checks that every segment parses.
func segment(t *testing.T, f *frame.Frame) {
	s, ok := f.Segments()
	if !ok {
		return
	}
	var out frame.Frame
	for buf := make([]byte, s.BufferLen()); s.Next(&out, buf); {
		again(t, &out)
	}
}

// again checks that a frame that is sent would be accepted.
func again(t *testing.T, f *frame.Frame) {
	t.Helper()
	g := frameOf(f.L3())
	var p frame.Parser
	if v := p.Parse(g); v != frame.Continue {
		t.Fatalf("what was made does not parse: %v\n%x", v, f.L3())
	}
	if g.L3Len() != f.L3Len() {
		t.Fatalf("packet of %d bytes says it is %d", f.L3Len(), g.L3Len())
	}
}

// FuzzAnswer gives any bytes to the functions that read ICMP errors and build answers. Every
// answer must parse, and none may answer an ICMP error.
func FuzzAnswer(f *testing.F) {
	for _, b := range seeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 65535 {
			return
		}
		fr := frameOf(b)
		var p frame.Parser
		if p.Parse(fr) != frame.Continue {
			return
		}
		fr.MTU = 1400
		src := director4
		if fr.Is6() {
			src = director6
		}
		_, related := modes.Embedded(fr)
		_, _, wrapped := modes.QuotedTunnel(fr)
		buf := make([]byte, modes.AnswerLen)
		var out frame.Frame
		for i, made := range []bool{
			modes.TimeExceeded(&out, buf, fr, src, 1),
			modes.TooBig(&out, buf, fr, src, 1),
			modes.Unreachable(&out, buf, fr, src, modes.PortUnreachable, 1),
			modes.EchoReply(&out, buf, fr, 1),
			modes.Reset(&out, buf, fr),
		} {
			if made && (related || wrapped) {
				t.Fatalf("answer %d to an ICMP error", i)
			}
		}
		if out.Len() > 0 {
			again(t, &out)
		}
		if modes.RelayTunnelError(&out, buf, fr, 1400, 1) {
			again(t, &out)
			if !wrapped && out.Info.Proto != frame.ProtoICMP && out.Info.Proto != frame.ProtoICMPv6 {
				t.Fatal("relayed what is no error")
			}
		}
	})
}

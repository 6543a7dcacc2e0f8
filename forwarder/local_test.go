package forwarder

import (
	"encoding/binary"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

const fullRules = "-A -t 10.2.0.3:80 -s rr\n-a -t 10.2.0.3:80 -r 10.1.0.3:80 --fullnat\n" +
	"-A -u 10.2.0.3:53 -s rr\n-a -u 10.2.0.3:53 -r 10.1.0.3:53 --fullnat"

// onePort returns a director with FULLNAT and a single local port.
func onePort(t *testing.T) *testbed {
	b := newTestbed(t, fullRules)
	var err error
	if b.fw.locals, err = conntrack.NewPorts(b.fw.conns, 20000, 20000); err != nil {
		t.Fatal(err)
	}
	return b
}

// stamp returns the TCP timestamp option.
func stamp(v uint32) []layers.TCPOption {
	return []layers.TCPOption{{OptionType: 1}, {OptionType: 1},
		{OptionType: 8, OptionLength: 10, OptionData: binary.BigEndian.AppendUint64(nil, uint64(v)<<32)}}
}

// speak sends a TCP segment from src to dst and returns the one that leaves.
func (b *testbed) speak(link int, src, dst string, h layers.TCP, data string) *layers.TCP {
	b.t.Helper()
	h.Window = 4096
	out := b.send(link, onLink(link, frametest.Packet{Src: src, Dst: dst, Transport: &h, Data: data}))
	if len(out) != 1 {
		b.t.Fatalf("%s to %s: %v", src, dst, b.words(out))
	}
	judge(b.t, out[0].b)
	got, _ := gopacket.NewPacket(out[0].b, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
	if got == nil {
		b.t.Fatalf("%s to %s: %v", src, dst, b.words(out))
	}
	return got
}

const (
	fullVIP, fullLocal, fullServer = "10.2.0.3:80", "10.1.255.254:20000", "10.1.0.3:80"
	oldClient, client              = "172.16.0.9:30001", "172.16.0.10:30002"
)

// close closes the old client's connection, the server first, so that the server is in
// TIME_WAIT. It expects sequence number 2002 next, and saw timestamp 700.
func (b *testbed) close(stamps []layers.TCPOption) {
	b.speak(1, oldClient, fullVIP, layers.TCP{SYN: true, Seq: 2000, Options: stamps}, "")
	b.speak(2, fullServer, fullLocal, layers.TCP{SYN: true, ACK: true, Seq: 5000, Ack: 2001}, "")
	b.speak(1, oldClient, fullVIP, layers.TCP{ACK: true, Seq: 2001, Ack: 5001, Options: stamps}, "")
	b.speak(2, fullServer, fullLocal, layers.TCP{FIN: true, ACK: true, Seq: 5001, Ack: 2001}, "")
	b.speak(1, oldClient, fullVIP, layers.TCP{FIN: true, ACK: true, Seq: 2001, Ack: 5002, Options: stamps}, "")
	b.speak(2, fullServer, fullLocal, layers.TCP{ACK: true, Seq: 5002, Ack: 2002}, "")
}

// The server accepts the SYN as a new connection, and the client sees its own numbers.
func TestASecondConnectionFromAPortFollowsTheFirst(t *testing.T) {
	for _, c := range []struct {
		name    string
		old     []layers.TCPOption
		seq     uint32 // of the client
		stamps  []layers.TCPOption
		shifted bool
		stamped bool // time stamps reach the server
	}{
		{"numbers that rise stay", nil, 3000, nil, false, false},
		{"a lower number is raised", nil, 1000, nil, true, false},
		{"the number that the server expects is none of a new connection", nil, 2002, nil, true, false},
		{"a number half the circle on is a lower one", nil, 2002 + 1<<31, nil, true, false},
		{"a later time stamp stays", stamp(700), 1000, stamp(800), true, true},
		{"the same one, too", stamp(700), 3000, stamp(700), false, true},
		{"an earlier one is kept from the server", stamp(700), 3000, stamp(600), false, false},
		{"where the old connection had none, any will do", nil, 1000, stamp(600), true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := onePort(t)
			b.t = t
			b.close(c.old)
			for _, try := range []string{"SYN", "SYN again"} {
				syn := b.speak(1, client, fullVIP, layers.TCP{SYN: true, Seq: c.seq, Options: c.stamps}, "")
				shift := syn.Seq - c.seq
				if (shift != 0) != c.shifted || int32(syn.Seq-2002) <= 0 || syn.SrcPort != 20000 {
					t.Fatalf("%s: port %d, %d becomes %d", try, syn.SrcPort, c.seq, syn.Seq)
				}
				if got := hasStamp(syn); got != c.stamped {
					t.Errorf("%s: time stamps %v", try, got)
				}
				b.converse(c.seq, shift)
			}
		})
	}
}

// The old connection of the client ends at once, and frees the port, which the server still
// remembers.
func TestAClientThatBeginsAnewFromItsPort(t *testing.T) {
	b := onePort(t)
	b.close(stamp(700))
	syn := b.speak(1, oldClient, fullVIP, layers.TCP{SYN: true, Seq: 1000, Options: stamp(600)}, "")
	if syn.SrcPort != 20000 || int32(syn.Seq-2002) <= 0 || hasStamp(syn) {
		t.Errorf("port %d, number %d, time stamps %v", syn.SrcPort, syn.Seq, hasStamp(syn))
	}
	if n := b.fw.conns.Len(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// converse continues the new connection, whose sequence numbers are shifted towards the
// server and back.
func (b *testbed) converse(seq, shift uint32) {
	b.t.Helper()
	answer := b.speak(2, fullServer, fullLocal, layers.TCP{SYN: true, ACK: true, Seq: 70537, Ack: seq + shift + 1}, "")
	if answer.Seq != 70537 || answer.Ack != seq+1 {
		b.t.Errorf("the client hears SYN %d, ACK %d", answer.Seq, answer.Ack)
	}
	if got := b.speak(1, client, fullVIP, layers.TCP{ACK: true, Seq: seq + 1, Ack: 70538}, "x"); got.Seq != seq+shift+1 || got.Ack != 70538 {
		b.t.Errorf("the server hears %d, ACK %d", got.Seq, got.Ack)
	}
	edges := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, seq+shift+10), seq+shift+20)
	sack := b.speak(2, fullServer, fullLocal, layers.TCP{ACK: true, Seq: 70538, Ack: seq + shift + 2,
		Options: []layers.TCPOption{{OptionType: 5, OptionLength: 10, OptionData: edges}}}, "")
	if got := sack.Options[0].OptionData; sack.Ack != seq+2 || binary.BigEndian.Uint32(got) != seq+10 || binary.BigEndian.Uint32(got[4:]) != seq+20 {
		b.t.Errorf("the client hears ACK %d, SACK %x", sack.Ack, got)
	}
}

func hasStamp(h *layers.TCP) bool {
	for _, o := range h.Options {
		if o.OptionType == 8 {
			return true
		}
	}
	return false
}

// ICMP errors quote the client's own numbers to it, whoever sends them.
func TestErrorsAboutARenumberedConnection(t *testing.T) {
	b := onePort(t)
	b.close(nil)
	syn := b.speak(1, client, fullVIP, layers.TCP{SYN: true, Seq: 1000}, "")
	large := func() []sent {
		p := seg(t, 1, client, fullVIP, frame.FlagACK, string(make([]byte, 1300)))
		p[frame.EthernetLen+6] |= 0x40 // DF
		frame.SumHeader4(p[frame.EthernetLen : frame.EthernetLen+20])
		return b.send(1, p)
	}
	out := large()
	if got := binary.BigEndian.Uint32(out[0].b[frame.EthernetLen+24:]); got != syn.Seq {
		t.Fatalf("the server gets number %d, want %d", got, syn.Seq)
	}
	for _, e := range [][]sent{b.send(2, tooBig(out[0].b, 1200)), large()} {
		if len(e) != 1 || e[0].link != 1 {
			t.Fatalf("the client is not told: %v", b.words(e))
		}
		judge(t, e[0].b)
		if got := binary.BigEndian.Uint32(e[0].b[frame.EthernetLen+28+24:]); got != 1000 {
			t.Errorf("the error quotes number %d, want 1000", got)
		}
	}
}

// TestWithoutALocalPortTheClientIsTold at once, and that is counted once.
func TestWithoutALocalPortTheClientIsTold(t *testing.T) {
	b := onePort(t)
	b.speak(1, oldClient, fullVIP, layers.TCP{SYN: true, Seq: 2000}, "")
	if got := b.speak(1, client, fullVIP, layers.TCP{SYN: true, Seq: 1000}, ""); !got.RST || !got.ACK || got.Ack != 1001 {
		t.Errorf("the client hears %+v", got)
	}
	if n := b.verdict(frame.DropNoLocalPort); n != 1 {
		t.Errorf("counted %d times", n)
	}
	b.send(1, dgram(t, 1, oldClient, "10.2.0.3:53", "x"))
	got := b.words(b.send(1, dgram(t, 1, client, "10.2.0.3:53", "x")))
	if len(got) != 1 || got[0] != "client 02:00:00:02:00:01 10.2.0.3>172.16.0.10 DestinationUnreachable(Port)" {
		t.Errorf("the client of a datagram hears %v", got)
	}
	if n := b.verdict(frame.DropNoLocalPort); n != 2 || b.verdict(frame.Answered) != 0 {
		t.Errorf("counted %d times, %d answers besides", n, b.verdict(frame.Answered))
	}
}

// A forged reset does not free the port of a connection.
func TestAConnectionGoesOnWhoseResetWasForged(t *testing.T) {
	b := onePort(t)
	b.speak(1, oldClient, fullVIP, layers.TCP{SYN: true, Seq: 2000}, "")
	b.speak(2, fullServer, fullLocal, layers.TCP{SYN: true, ACK: true, Seq: 5000, Ack: 2001}, "")
	b.speak(1, oldClient, fullVIP, layers.TCP{ACK: true, Seq: 2001, Ack: 5001}, "")
	b.speak(1, oldClient, fullVIP, layers.TCP{RST: true, Seq: 9000}, "")
	if got := b.speak(1, client, fullVIP, layers.TCP{SYN: true, Seq: 1000}, ""); !got.RST {
		t.Error("the port of a live connection was given to another")
	}
	if got := b.speak(2, fullServer, fullLocal, layers.TCP{ACK: true, Seq: 5001, Ack: 2001}, "hello"); got.DstPort != 30001 {
		t.Errorf("the server's data goes to port %d", got.DstPort)
	}
	b.speak(1, oldClient, fullVIP, layers.TCP{RST: true, Seq: 2001}, "")
	if got := b.speak(1, client, fullVIP, layers.TCP{SYN: true, Seq: 1000}, ""); got.RST || got.SrcPort != 20000 {
		t.Error("a connection that was reset still has its port")
	}
}

// TestAFrameOfAConnectionWhosePortWentInTheSameBatch is none of the port's new
// connection.
func TestAFrameOfAConnectionWhosePortWentInTheSameBatch(t *testing.T) {
	b := onePort(t)
	b.close(nil)
	out := b.send(1, seg(t, 1, client, fullVIP, frame.FlagSYN, ""), seg(t, 1, oldClient, fullVIP, frame.FlagACK, ""))
	if got := b.words(out); len(got) != 2 || got[0] != "client 02:00:00:02:00:01 10.2.0.3>172.16.0.9 tcp 80>30001" {
		t.Errorf("out came %v", got)
	}
}

package forwarder

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

// ftpConn is a control connection through a director, with the next sequence numbers.
type ftpConn struct {
	*testbed
	client, server uint32
}

func newFTP(t *testing.T) *ftpConn {
	b := &ftpConn{testbed: newTestbed(t, ""), client: 1000, server: 5000}
	b.ipvsadm("-A -t 10.2.0.100:21 -s rr")
	b.ipvsadm("-a -t 10.2.0.100:21 -r 10.1.0.1:21 -m")
	b.deliver(1, b.tcp(1, segment{src: "172.16.0.9:3001", dst: "10.2.0.100:21", flags: syn, seq: 999}))
	b.handshake("172.16.0.9:3001", "10.2.0.100:21", "10.1.0.1:21")
	return b
}

func (b *ftpConn) says(line string) []sent {
	p := b.tcp(1, segment{"172.16.0.9:3001", "10.2.0.100:21", ack, b.client, b.server, line})
	b.client += uint32(len(line))
	return b.deliver(1, p)
}

func (b *ftpConn) answers(line string) string {
	p := b.tcp(2, segment{"10.1.0.1:21", "172.16.0.9:3001", ack, b.server, b.client, line})
	b.server += uint32(len(line))
	out := b.deliver(2, p)
	if len(out) != 1 {
		return ""
	}
	return describe(b.t, out[0].b) + " " + string(out[0].b[frame.EthernetLen+40:])
}

func TestFTPSequenceNumbersFollowEveryAnswer(t *testing.T) {
	b := newFTP(t)
	for i, want := range []string{"seq=5000", "seq=5048", "seq=5096"} { // each answer grew by 2
		b.says("PASV\r\n")
		if got := b.answers("227 Entering Passive Mode (10,1,0,1,200,10).\r\n"); !strings.Contains(got, want) ||
			!strings.Contains(got, "(10,2,0,100,200,10)") {
			t.Errorf("answer %d is %q, want %s", i, got, want)
		}
	}
	b.server += 6 // what the client has seen
	out := b.says("NOOP\r\n")
	if got := describe(t, out[0].b); !strings.Contains(got, fmt.Sprintf("ack=%d ", b.server-6)) {
		t.Errorf("the server gets %q, want what it sent acknowledged", got)
	}
}

func TestFTPAnswersNobodyAskedForStay(t *testing.T) {
	b := newFTP(t)
	const line = "227 Entering Passive Mode (10,1,0,1,200,10).\r\n"
	if got := b.answers(line); !strings.HasSuffix(got, line) {
		t.Errorf("an answer without a question became %q", got)
	}
	b.says("PASV\r\n")
	const other = "227 Entering Passive Mode (10,1,0,77,200,10).\r\n"
	if got := b.answers(other); !strings.HasSuffix(got, other) || b.fw.conns.Len() != 1 {
		t.Errorf("an answer that names another host became %q", got)
	}
	b.says("PORT 172,16,0,10,9,10\r\n")
	if n := b.fw.conns.Len(); n != 1 {
		t.Errorf("a client named another host and there are %d connections, want 1", n)
	}
}

func TestDamagedFTPAnswersAreDropped(t *testing.T) {
	b := newFTP(t)
	b.says("PASV\r\n")
	p := b.tcp(2, segment{"10.1.0.1:21", "172.16.0.9:3001", ack, b.server, b.client, "227 ok (10,1,0,1,200,10)\r\n"})
	p[frame.EthernetLen+36] ^= 1
	if out := b.deliver(2, p); len(out) != 0 {
		t.Errorf("an answer with a wrong checksum was translated: its new checksum would be right")
	}
}

func TestAnFTPAnswerIsTranslatedWhereverItStandsInAFrame(t *testing.T) {
	const lines, answer = "230-Welcome, and much of it\r\n", "227 Entering Passive Mode (10,1,0,1,200,10).\r\n"
	for _, c := range []struct {
		name   string
		before int // lines
		super  bool
	}{
		{"behind another line", 1, false},
		{"in a frame that is several segments in one", 200, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newFTP(t)
			b.says("PASV\r\n")
			text := strings.Repeat(lines, c.before) + answer + "230 And more\r\n"
			p := b.tcp(2, segment{"10.1.0.1:21", "172.16.0.9:3001", ack, b.server, b.client, text})
			f := porttest.Frame{Bytes: p}
			if c.super {
				f.Offload = frame.Offload{Flags: frame.OffloadPartial, GSOType: frame.GSOTCP4, GSOSize: 1448,
					HeaderLen: frame.EthernetLen + 40, CsumStart: frame.EthernetLen + 20, CsumOffset: 16}
				l4 := p[frame.EthernetLen+20:]
				binary.BigEndian.PutUint16(l4[16:], frame.Fold(frame.PseudoSum(p[26:30], p[30:34], frame.ProtoTCP, len(l4))))
			}
			b.mem.far[2].InjectFrames(f)
			out := b.send(2)
			if len(out) != 1 {
				t.Fatalf("%d frames came, want 1", len(out))
			}
			want := strings.ReplaceAll(text, "10,1,0,1,", "10,2,0,100,")
			if got := string(out[0].b[frame.EthernetLen+40:]); got != want {
				t.Errorf("the client got %d bytes, want %d with the virtual address", len(got), len(want))
			}
			if out[0].offload.Super() != c.super {
				t.Errorf("the frame left with %+v", out[0].offload)
			}
			sumRight(t, &out[0])
			if got := b.fw.conns.Len(); got != 2 {
				t.Errorf("%d connections, want the expected one besides", got)
			}
			b.server += uint32(len(text))
			if got := b.answers("NOOP ok\r\n"); !strings.Contains(got, fmt.Sprintf("seq=%d ", b.server-9+2)) {
				t.Errorf("the next line is %q, want it 2 bytes later", got)
			}
			b.server -= uint32(len(text)) + 9 - uint32(len(lines)*c.before)
			if got := b.answers(answer); !strings.Contains(got, "(10,2,0,100,200,10)") || !strings.Contains(got, fmt.Sprintf("seq=%d ", 5000+len(lines)*c.before)) {
				t.Errorf("the answer alone, sent again, is %q", got)
			}
		})
	}
}

// sumRight checks the TCP checksum of an IPv4 frame, which may be partial.
func sumRight(t *testing.T, s *sent) {
	t.Helper()
	l4 := s.b[frame.EthernetLen+20:]
	pseudo := frame.PseudoSum(s.b[26:30], s.b[30:34], frame.ProtoTCP, len(l4))
	got, want := frame.Fold(frame.Sum(l4, pseudo)), uint16(0xffff)
	if s.offload.Partial() {
		got, want = binary.BigEndian.Uint16(l4[16:]), frame.Fold(pseudo)
	}
	if got != want {
		t.Errorf("the checksum is wrong: %#x, want %#x", got, want)
	}
}

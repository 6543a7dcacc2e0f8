package forwarder

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/internal/proc"
)

// sip.txt is a session like persist.txt with `--pe sip`: datagrams of clients
// ("in"), the same in fragments ("frags") and datagrams that real servers send
// first ("out"), each with its payload and the ends of what came of it.
func TestRecordedCallIDPersistence(t *testing.T) {
	for _, tr := range traces(t, "testdata/sip.txt") {
		t.Run(tr.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newTestbed(t, "")
				b.net.forward, tr.slow = true, true
				tr.replay(b)
			})
		})
	}
}

var (
	messageLine = regexp.MustCompile(`^  (in|frags|out) (\S+) > (\S+) (".*") -> (\S+)$`)
	segmentLine = regexp.MustCompile(`^  ([SA]) (\S+) > (\S+)   -> (None|\S+>\S+)$`)
)

// message plays a line of the session with a payload, and reports whether line is one.
func (s *session) message(line string) bool {
	var kind, src, dst, want string
	payload := ""
	if m := messageLine.FindStringSubmatch(line); m != nil {
		kind, src, dst, want = m[1], m[2], m[3], m[5]
		if err := json.Unmarshal([]byte(m[4]), &payload); err != nil {
			s.t.Fatal(err)
		}
	} else if m := segmentLine.FindStringSubmatch(line); m != nil && strings.HasPrefix(s.name, "TCP") {
		kind, src, dst, want = m[1], m[2], m[3], m[4]
	} else {
		return false
	}
	got := "None"
	if out := s.datagrams(kind, src, dst, latin1(payload)); len(out) > 0 {
		got = endsOf(out[0])
	}
	if got != want {
		s.t.Errorf("line %d: %s\n\tgives %s", s.at, line, got)
	}
	return true
}

func (s *session) datagrams(kind, src, dst string, payload []byte) []sent {
	switch kind {
	case "S", "A":
		flags := map[string]uint8{"S": frame.FlagSYN, "A": frame.FlagACK | frame.FlagPSH}[kind]
		return s.deliver(1, s.tcp(1, segment{src: src, dst: dst, flags: flags, seq: 1000}))
	}
	link := map[string]int{"in": 1, "frags": 1, "out": 2}[kind]
	p := s.udp(link, src, dst, string(payload))
	if kind != "frags" {
		return s.deliver(link, p)
	}
	first, last := bytes.Clone(p[:frame.EthernetLen+20+64]), slices.Concat(p[:frame.EthernetLen+20], p[frame.EthernetLen+20+64:])
	for i, b := range [][]byte{first, last} {
		h := b[frame.EthernetLen:][:20]
		binary.BigEndian.PutUint16(h[2:], uint16(len(b)-frame.EthernetLen))
		binary.BigEndian.PutUint16(h[6:], []uint16{0x2000, 64 / 8}[i])
		frame.SumHeader4(h)
	}
	return append(s.deliver(link, first), s.deliver(link, last)...)
}

// latin1 returns the bytes that the session shows as Latin-1 letters.
func latin1(s string) []byte {
	var b []byte
	for _, r := range s {
		b = append(b, byte(r))
	}
	return b
}

// endsOf names the ends of a packet as the session does.
func endsOf(s sent) string {
	f, l4 := flowOf(s.b), s.b[frame.EthernetLen+20:]
	switch {
	case f.Proto() == frame.ProtoICMP:
		return fmt.Sprintf("icmp %d/%d", l4[0], l4[1])
	case f.SrcPort() == 0: // a first fragment
		f.SetPorts(binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:]))
	}
	return f.Source().String() + ">" + f.Destination().String()
}

// procFile compares /proc/net/ip_vs_conn, of which the session has only the templates.
func (s *session) procFile() {
	want := map[string]bool{}
	for s.at < len(s.lines) && strings.HasPrefix(s.lines[s.at], "    ") {
		want[seconds.ReplaceAllString(strings.TrimSpace(s.lines[s.at]), "*")] = true
		s.at++
	}
	var conns, sync bytes.Buffer
	all := func(yield func(config.Connection, error) bool) {
		for _, c := range s.fw.Connections() {
			if c.Template && !yield(c, nil) {
				return
			}
		}
	}
	if err := proc.Connections(&conns, &sync, all); err != nil {
		s.t.Fatal(err)
	}
	got := map[string]bool{}
	for line := range strings.Lines(conns.String()) {
		line = seconds.ReplaceAllString(strings.TrimSpace(string(utf8Of(line))), "*")
		got[line] = true
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		s.t.Errorf("line %d: ip_vs_conn (-recorded +got):\n%s", s.at, diff)
	}
}

// seconds matches the time left in ip_vs_conn.
var seconds = regexp.MustCompile(` +\d+( sip|$)`)

// utf8Of undoes latin1.
func utf8Of(line string) []byte {
	var b []byte
	for i := range len(line) {
		b = append(b, string(rune(line[i]))...)
	}
	return b
}

func TestMemoryForCallIDsEndsWithTheirTemplates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, "")
		b.ipvsadm("-A -u 10.2.0.1:5060 -s rr -p 2 --pe sip")
		b.ipvsadm("-a -u 10.2.0.1:5060 -r 10.1.0.1:5060 -m")
		b.ipvsadm("--set 0 0 1")
		s := session{testbed: b}
		for i := range 10 {
			s.datagrams("in", "172.16.0.9:5060", "10.2.0.1:5060", fmt.Appendf(nil, "X\r\nCall-ID: call-%d\r\n", i))
			s.datagrams("in", fmt.Sprintf("172.16.0.9:%d", 6000+i), "10.2.0.1:5060", fmt.Appendf(nil, "X\r\nCall-ID: call-%d\r\n", i))
		}
		if n := len(b.fw.sip.text); n != 10 || b.fw.sip.used != 60 {
			t.Errorf("%d Call-IDs of %d bytes are known, want 10 of 60", n, b.fw.sip.used)
		}
		b.fw.sip.used += callsMax
		if s.datagrams("in", "172.16.0.9:7000", "10.2.0.1:5060", []byte("X\r\nCall-ID: more\r\n")); b.verdict(frame.DropConnTableFull) != 1 {
			t.Error("a Call-ID was taken without room for it")
		}
		b.fw.sip.used -= callsMax
		b.pass(65e9)
		if n := len(b.fw.sip.text); n != 0 || b.fw.sip.used != 0 {
			t.Errorf("%d Call-IDs of %d bytes are known after their templates expired", n, b.fw.sip.used)
		}
	})
}

func TestADigestTellsCallsApart(t *testing.T) {
	var c sipCalls
	c.init([16]byte{1}, nil)
	seen := map[[16]byte]string{}
	for i := range 10000 {
		id := fmt.Sprint(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}))
		if other, ok := seen[c.tag([]byte(id))]; ok {
			t.Fatalf("%s and %s have one digest", id, other)
		}
		seen[c.tag([]byte(id))] = id
	}
}

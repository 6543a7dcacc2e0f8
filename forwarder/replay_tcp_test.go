package forwarder

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/frame"
	"uvs/internal/kernelvm/recording"
)

// stateTrace is a recorded life of one connection: after each step the packet
// that left, the entry's state and time left, and the server's counts.
type stateTrace struct {
	Name, Mode, Proto string
	Sysctl            map[string]int
	Timeouts          string // of ipvsadm --set, if they were changed before
	Rows              []stateRow
}

type stateRow struct {
	Step, State, Expire string
	Out                 string
	Active, Inact       *int
}

func TestRecordedConnectionLives(t *testing.T) {
	for _, tr := range lines[stateTrace](t, "../conntrack/testdata/tcpstate.jsonl") {
		t.Run(fmt.Sprint(tr.Name, " ", tr.Mode, " ", tr.Sysctl), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tr.replay(newTestbed(t, "")) })
		})
	}
}

// life is one connection of a stateTrace in progress.
type life struct {
	*testbed
	virtual, server, client string
	proto                   string
	cs, ss                  uint32 // next sequence numbers
}

func (tr *stateTrace) replay(b *testbed) {
	l := tr.begin(b)
	for i, row := range tr.Rows {
		out := l.step(row.Step)
		if want := mask(row.Out); out != want {
			b.t.Errorf("step %d %s: sent\n%q, recorded\n%q", i, row.Step, out, want)
		}
		state, expire := l.entry()
		if state != row.State || expire != row.Expire && !(out == "" && near(expire, row.Expire, 2)) {
			b.t.Errorf("step %d %s: entry %s %s, recorded %s %s", i, row.Step, state, expire, row.State, row.Expire)
		}
		if row.Active != nil && l.counts() != fmt.Sprint(*row.Active, *row.Inact) {
			b.t.Errorf("step %d %s: counts %s, recorded %d %d", i, row.Step, l.counts(), *row.Active, *row.Inact)
		}
	}
}

// begin configures the recorded service.
func (tr *stateTrace) begin(b *testbed) *life {
	method, port := map[string]string{"NAT": "m", "DR": "g", "TUN": "i"}[tr.Mode], "80"
	if tr.Mode == "NAT" {
		port = "8080"
	}
	l := &life{testbed: b, virtual: "10.2.0.1:80", client: "172.16.0.9:20001", server: "10.1.0.5:" + port, proto: tr.Proto, cs: 1000, ss: 5000}
	for name, value := range tr.Sysctl {
		b.sysctl(name, value)
	}
	if tr.Timeouts != "" {
		b.ipvsadm("--set " + tr.Timeouts)
	}
	b.ipvsadm("-A -" + tr.Proto + " " + l.virtual + " -s rr")
	b.ipvsadm("-a -" + tr.Proto + " " + l.virtual + " -r " + l.server + " -" + method)
	return l
}

// step plays one step and describes the frame that left, as the recording does: towards the
// other side, or else back to the sender.
func (l *life) step(step string) string {
	switch {
	case strings.HasPrefix(step, "sleep"):
		n, _ := strconv.Atoi(step[len("sleep"):])
		l.pass(time.Duration(n) * time.Second)
		return ""
	case strings.HasPrefix(step, "ipvs "):
		l.ipvsadm(strings.NewReplacer("@V", l.virtual, "@R", l.server).Replace(step[len("ipvs "):]))
		return ""
	}
	link, p := 1, l.packet(step)
	if step[0] == 's' {
		link = 2
	}
	back := ""
	for _, s := range l.deliver(link, p) {
		if s.link != link {
			return describe(l.t, s.b)
		}
		back = "REPLY " + describe(l.t, s.b)
	}
	return back
}

// packet is the segment or datagram of a step like c:PAd.
func (l *life) packet(step string) []byte {
	from, flags, _ := strings.Cut(step, ":")
	fromClient := from == "c"
	if l.proto == "u" && fromClient {
		return l.udp(1, l.client, l.virtual, "hello")
	}
	if l.proto == "u" {
		return l.udp(2, l.server, l.client, "hello")
	}
	s := segment{src: l.client, dst: l.virtual, seq: l.cs, ack: l.ss}
	link, next := 1, &l.cs
	if !fromClient {
		s = segment{src: l.server, dst: l.client, seq: l.ss, ack: l.cs}
		link, next = 2, &l.ss
	}
	if strings.HasSuffix(flags, "d") {
		s.data = strings.Repeat("x", 10)
	}
	for _, c := range flags {
		s.flags |= map[rune]uint8{'F': 1, 'S': 2, 'R': 4, 'P': 8, 'A': 16, 'U': 32, 'E': 64, 'C': 128}[c]
	}
	if s.flags&frame.FlagACK == 0 {
		s.ack = 0
	}
	*next += uint32(len(s.data)) + uint32(s.flags&frame.FlagSYN)/frame.FlagSYN + uint32(s.flags&frame.FlagFIN)
	return l.tcp(link, s)
}

// entry returns state and time left as ipvsadm -Lcn lists them.
func (l *life) entry() (state, expire string) {
	for line := range strings.Lines(l.ipvsadm("-Lcn")) {
		if f := strings.Fields(line); len(f) == 6 && f[3] == l.client {
			return f[2], f[1]
		}
	}
	return "", ""
}

func (l *life) counts() string {
	for line := range strings.Lines(l.ipvsadm("-Ln")) {
		if f := strings.Fields(line); len(f) == 6 && f[0] == "->" && f[1] == l.server {
			return f[4] + " " + f[5]
		}
	}
	return ""
}

// near reports whether the recorded time left is ours, or some seconds less because the
// recording's commands took time.
func near(ours, recorded string, within int) bool {
	var m, s, rm, rs int
	fmt.Sscanf(ours, "%d:%d", &m, &s)
	fmt.Sscanf(recorded, "%d:%d", &rm, &rs)
	d := 60*(m-rm) + s - rs
	return ours != "" && recorded != "" && d >= 0 && d <= within
}

// mask removes the identifications, which count up.
func mask(s string) string { return regexp.MustCompile(`id=\d+`).ReplaceAllString(s, "id=*") }

// describe describes a frame as the recordings do, and verifies its checksums.
func describe(t testing.TB, b []byte) string {
	judge(t, b)
	return mask(recording.Describe(b))
}

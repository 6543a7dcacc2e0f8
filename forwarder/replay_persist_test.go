package forwarder

import (
	"bufio"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// persistTrace is one case of the recorded session: commands, packets with the
// server they went to, pauses and listings, a line each.
type persistTrace struct {
	name  string
	slow  bool // the recording took its time all along
	lines []string
}

// notPersistence are prefixes of cases that have other subjects.
var notPersistence = []string{"sync", "backup", "/proc", "proc", "rate"}

func TestRecordedPersistence(t *testing.T) {
	for _, tr := range traces(t, "testdata/persist.txt") {
		if slices.ContainsFunc(notPersistence, func(s string) bool { return strings.HasPrefix(tr.name, s) }) {
			continue
		}
		t.Run(tr.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { tr.replay(newTestbed(t, "")) })
		})
	}
}

func traces(t *testing.T, file string) []persistTrace {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []persistTrace
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if name, ok := strings.CutPrefix(s.Text(), "== "); ok {
			all = append(all, persistTrace{name: name})
		} else if line := strings.TrimRight(s.Text(), " "); line != "" && len(all) > 0 {
			tr := &all[len(all)-1]
			tr.lines = append(tr.lines, line)
		}
	}
	return all
}

// session is a persistTrace in progress.
type session struct {
	*testbed
	*persistTrace
	at      int
	slow    bool // time has passed: the recording's own pace shows
	lastOut []sent
	clock   float64 // seconds of the recording's t+ marks
}

// markedAddress matches the destination of packets with a mark.
var markedAddress = regexp.MustCompile(`10\.2\.1\.\d+`)

var (
	packetLine = regexp.MustCompile(`^  (\w+) (\S+) > (\S+)   -> (\S+)$`)
	pauses     = map[string]time.Duration{"(3 s later": 3 * time.Second, "10.5 s later": 10600 * time.Millisecond,
		"two expired": 10700 * time.Millisecond, "three expired": 10700 * time.Millisecond, "four expired": 10700 * time.Millisecond}
)

func (tr *persistTrace) replay(b *testbed) {
	b.net.local = isVirtual
	if strings.HasPrefix(tr.name, "fwmark") {
		b.mark(config.MarkRule{Dst: netip.MustParsePrefix(markedAddress.FindString(strings.Join(tr.lines, "\n")) + "/32"), Mark: 77})
	}
	s := &session{testbed: b, persistTrace: tr, slow: tr.slow}
	for s.at < len(tr.lines) {
		line := tr.lines[s.at]
		s.at++
		switch m := packetLine.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "  # ipvsadm -L"):
			s.listing(line[len("  # ipvsadm "):])
		case strings.HasPrefix(line, "  # ipvsadm "):
			b.ipvsadm(line[len("  # ipvsadm "):])
		case strings.HasPrefix(line, "  # sysctl "):
			name, value, _ := strings.Cut(line[len("  # sysctl net.ipv4.vs."):], "=")
			b.sysctl(name, int(value[0]-'0'))
		case strings.HasPrefix(line, "  # cat /proc/net/ip_vs_conn"):
			s.procFile()
		case s.message(line):
		case m != nil:
			s.packet(m[1], m[2], m[3], strings.Trim(m[4], " "))
		default:
			s.remark(strings.TrimSpace(line))
		}
	}
}

// remark follows a remark of the session: it waits, or compares what the client got.
func (s *session) remark(line string) {
	if got, ok := strings.CutPrefix(line, "client side got: ['"); ok {
		if out := s.answers(); len(out) != 1 || !strings.HasPrefix(mask(got), strings.TrimSuffix(out[0], " csumOK")) {
			s.t.Errorf("the client got %q, recorded %s", out, got)
		}
		return
	}
	if m, ok := strings.CutPrefix(line, "t+"); ok {
		at, err := strconv.ParseFloat(m, 64)
		if err == nil {
			s.wait(time.Duration((at - s.clock) * 1.06 * float64(time.Second))) // the listings took their time
			s.clock = at
			return
		}
	}
	if strings.HasPrefix(line, "TCP:") {
		s.clock = 0
	}
	for prefix, d := range pauses {
		if strings.HasPrefix(line, prefix) {
			s.wait(d)
		}
	}
	if strings.HasPrefix(line, "--stats showed") { // and 2 s more
		s.estimate()
		s.estimate()
	}
}

func (s *session) wait(d time.Duration) {
	s.slow = true
	s.pass(d)
}

func (s *session) estimate() { s.fw.Tick(time.Now()) }

// answers describes what the sender of the last packet got back.
func (s *session) answers() (all []string) {
	for _, f := range s.lastOut {
		if f.link == 1 {
			d, _, _ := strings.Cut(describe(s.t, f.b), " {")
			all = append(all, d)
		}
	}
	return all
}

// packet sends a packet of the session, and completes the handshake if the session did.
func (s *session) packet(kind, client, virtual, want string) {
	client, virtual = bracketed(client), bracketed(virtual)
	var p []byte
	if kind == "udp" {
		p = s.udp(1, client, virtual, "hello")
	} else {
		flags := map[string]uint8{"S": frame.FlagSYN, "A": frame.FlagACK, "R": frame.FlagRST}[kind]
		p = s.tcp(1, segment{src: client, dst: virtual, flags: flags, seq: 1000})
	}
	s.lastOut = s.deliver(1, p)
	if kind == "A" && strings.HasPrefix(s.name, "-Z") {
		s.estimate() // the session waited for it
	}
	got := picked(s.lastOut)
	if got == "" {
		got = "None"
	}
	if got != want {
		s.t.Errorf("line %d: %s %s > %s went to %s, recorded %s", s.at, kind, client, virtual, got, want)
	}
	if kind == "S" && got != "None" && s.established(client) {
		s.handshake(client, virtual, got)
	}
}

// established reports whether the session completed the handshake of a connection, which its
// lines do not show.
func (s *session) established(client string) bool {
	port := netip.MustParseAddrPort(client).Port()
	switch {
	case strings.HasPrefix(s.name, "-p 2:"), strings.HasPrefix(s.name, "-p: RS removed"), strings.HasPrefix(s.name, "-C with"):
		return port == 1000
	case strings.HasPrefix(s.name, "u-threshold"), strings.HasPrefix(s.name, "u=5"):
		return port <= 1005
	}
	return false
}

// bracketed converts the session's IPv6 endpoints, such as fd00::1:80, to the usual form.
func bracketed(end string) string {
	if i := strings.LastIndex(end, ":"); strings.Count(end, ":") > 1 && end[0] != '[' {
		return "[" + end[:i] + "]" + end[i:]
	}
	return end
}

// listing compares a listing. That of connections has only those of the virtual address, in
// no particular order.
func (s *session) listing(words string) {
	var want []string
	for s.at < len(s.lines) && strings.HasPrefix(s.lines[s.at], "    ") {
		want = append(want, strings.TrimSpace(s.lines[s.at]))
		s.at++
	}
	connections := strings.HasPrefix(words, "-Lc")
	var got []string
	for line := range strings.Lines(s.ipvsadm(words)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "IPVS connection") {
			got = append(got, line)
		}
	}
	if !connections {
		if diff := cmp.Diff(want, got); diff != "" {
			s.t.Errorf("line %d: %s (-recorded +got):\n%s", s.at, words, diff)
		}
		return
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(s.timeless(want), s.timeless(got)); diff != "" {
		s.t.Errorf("line %d: %s (-recorded +got):\n%s", s.at, words, diff)
	}
	s.times(words, want, got)
}

var clockTime = regexp.MustCompile(`\b\d\d:\d\d\b`)

func (s *session) timeless(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = clockTime.ReplaceAllString(l, "*")
	}
	slices.Sort(out)
	return out
}

// times compares the time left of each connection: to the second, or to two seconds after a
// pause, which was a little longer in the recording.
func (s *session) times(words string, want, got []string) {
	at := map[string]string{}
	for _, l := range got {
		at[clockTime.ReplaceAllString(l, "*")] = clockTime.FindString(l)
	}
	for _, l := range want {
		recorded, ours := clockTime.FindString(l), at[clockTime.ReplaceAllString(l, "*")]
		if recorded != ours && ours != "" && !(s.slow && near(ours, recorded, 2)) {
			s.t.Errorf("line %d: %s: %s: time left %s, recorded %s", s.at, words, l, ours, recorded)
		}
	}
}

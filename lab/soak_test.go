package lab_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/lab"
	"uvs/lab/labtest"
)

var (
	soakFor  = flag.Duration("soak", 0, "how long TestSoak sends traffic; it then waits for the last connection to end")
	soakSeed = flag.Uint64("soakseed", rand.Uint64(), "what decides which events TestSoak has")
)

// TestSoak runs a director under a keeper with traffic by every method, over IPv4 and IPv6,
// with persistence, marks and FTP, while its
// configuration changes at random, servers die and come back, interfaces flap, and the
// director itself is killed, stopped, started and replaced. Then nothing of that happens
// any more for a while, in which no request may fail and no memory be lost; and when all
// connections have ended nothing may be left of them. Connections that end as they
// should leave theirs in TIME_WAIT for two minutes; in a soak of less than five all are
// aborted.
//
//	go test ./lab -run 'TestSoak$' -soak 1h -timeout 2h
func TestSoak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("needs -soak DURATION")
	}
	l := labtest.Start(t, mixedTopology())
	labtest.NeedIP(t)
	s := &soak{t: t, l: l, rng: rand.New(rand.NewPCG(*soakSeed, 0)), traffic: newTraffic(l)}
	defer s.end()
	if log, err := os.Create(filepath.Join(t.TempDir(), "log")); err == nil {
		s.log = log
	}
	t.Logf("-soak %v -soakseed %d", *soakFor, *soakSeed)
	s.begin()
	s.configure()
	s.serveFTP()
	stop := s.send()

	s.disturb(*soakFor * 3 / 5)
	s.configure()
	calm := *soakFor * 2 / 5
	time.Sleep(calm / 4)
	before := s.measure()
	failed := s.traffic.failed.Load()
	s.checkFor(calm * 3 / 4)
	if n := s.traffic.failed.Load() - failed; n != 0 {
		t.Errorf("%d requests failed while nothing happened: %v", n, s.traffic.reason.Load())
	}
	after := s.measure()
	stop()
	t.Logf("%v; director: %v before, %v after", s.traffic, before, after)
	for _, broken := range s.traffic.broken() {
		t.Error(broken)
	}
	if after.memory > before.memory+32<<10 {
		t.Errorf("memory grew from %d to %d KiB", before.memory, after.memory)
	}
	s.awaitNothing()
	last := s.measure()
	if last.files > before.files || last.goroutines > before.goroutines {
		t.Errorf("it has %v when all is over, and had %v", last, before)
	}
	t.Logf("the end: %v; %v", last, counters(t, l))
}

// soak is a soak test that runs.
type soak struct {
	t       *testing.T
	l       *lab.Lab
	rng     *rand.Rand
	traffic *traffic

	running []*lab.Cmd // directors and keepers; those before the last have been replaced
	log     *os.File   // what they say
	checks  int
	events  map[string]int
}

// begin starts a director under a keeper.
func (s *soak) begin() {
	s.t.Helper()
	s.start("uvs", "director", "--keep")
	s.await()
}

func (s *soak) start(argv ...string) {
	s.t.Helper()
	c := s.l.Command("director", argv...)
	if s.log != nil {
		c.Stderr = s.log
	}
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.running = append(s.running, c)
}

// await waits until a director answers.
func (s *soak) await() {
	s.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := s.l.Exec("director", "ipvsadm", "-Ln"); err == nil {
			return
		}
	}
	s.t.Fatal("no director answers")
}

func (s *soak) end() {
	for _, c := range s.running {
		_ = c.Signal(unix.SIGKILL)
	}
	if s.log == nil {
		return
	}
	defer s.log.Close()
	if text, err := os.ReadFile(s.log.Name()); err == nil && s.t.Failed() {
		s.t.Logf("the directors said:\n%s", text)
	}
}

// pid returns the number of the director's process in the lab.
func (s *soak) pid() string {
	s.t.Helper()
	const find = `for d in /proc/[0-9]*; do
		[ "$(cat $d/comm 2>/dev/null)" != director-keeper ] && tr '\0' ' ' <$d/cmdline 2>/dev/null | grep -q '^[^ ]*uvs director' && echo ${d#/proc/}
	done; true`
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if pids := strings.Fields(sh(s.t, s.l, "director", find)); len(pids) == 1 {
			return pids[0]
		}
	}
	s.t.Fatalf("there is not one director:\n%s", sh(s.t, s.l, "director", "ps ax 2>/dev/null || true"))
	return ""
}

// usage is what a director has of the machine.
type usage struct {
	memory     int // KiB, resident
	files      int
	goroutines int
}

func (u usage) String() string {
	return fmt.Sprintf("%d MiB, %d descriptors, %d goroutines", u.memory>>10, u.files, u.goroutines)
}

func (s *soak) measure() usage {
	s.t.Helper()
	pid := s.pid()
	files, err := strconv.Atoi(strings.TrimSpace(sh(s.t, s.l, "director", "ls /proc/"+pid+"/fd | wc -l")))
	if err != nil {
		s.t.Fatal(err)
	}
	return usage{memory: rss(s.t, s.l, pid), files: files, goroutines: counters(s.t, s.l)["goroutines"]}
}

// check shows that every frame is accounted for.
func (s *soak) check() {
	s.t.Helper()
	if out, err := s.l.Exec("director", "uvs", "stats", "--check"); err != nil {
		s.t.Errorf("%v\n%s", err, out)
	}
	s.checks++
}

func (s *soak) checkFor(d time.Duration) {
	s.t.Helper()
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Second) {
		s.check()
	}
}

// awaitNothing waits until no connection is left, which takes as long as TIME_WAIT, and
// checks that none is counted anywhere.
func (s *soak) awaitNothing() {
	s.t.Helper()
	var left string
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Second) {
		if left = s.left(); left == "" {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("of connections that are over there are left:\n%s\n%s", left, labtest.Exec(s.t, s.l, "director", "ipvsadm", "-Lcn"))
		}
	}
	all := counters(s.t, s.l)
	for _, name := range []string{"connections", "waiting", "local-ports-live", "local-ports-time-wait", "synproxy-opening"} {
		if all[name] != 0 {
			s.t.Errorf("%s is %d when all is over", name, all[name])
		}
	}
	s.check()
	s.t.Logf("%d checks of the accounts; %v", s.checks, s.events)
}

// left returns the lines of servers that count connections or templates.
func (s *soak) left() (lines string) {
	for line := range strings.Lines(labtest.Exec(s.t, s.l, "director", "ipvsadm", "-Ln", "--persistent-conn")) {
		f := strings.Fields(line)
		if len(f) == 6 && f[0] == "->" && f[1] != "RemoteAddress:Port" && slices.ContainsFunc(f[3:], func(n string) bool { return n != "0" }) {
			lines += line
		}
	}
	return lines
}

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"uvs/lab"
	"uvs/lab/labtest"
)

// The tests of this file remove real servers that have clients, and check what the clients are
// told. The kernel's stack at both ends judges the resets: it accepts none whose number is not
// exactly the one it expects (RFC 5961).

func TestServersThatGo(t *testing.T) {
	for _, topology := range []string{"nat", "dr", "tun", "fullnat", "nat6", "dr6", "tun6", "fullnat6"} {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			l := labtest.Start(t, labtest.Build(t, topology, lab.Options{}))
			addUDP(t, l)
			t.Run("a client that listens is reset when its server is removed", func(t *testing.T) { removedReset(t, l) })
			t.Run("one that downloads is reset", func(t *testing.T) { downloadReset(t, l) })
			t.Run("one whose service is removed may go on for a while, then is reset", func(t *testing.T) { serviceRemoved(t, l) })
			t.Run("one that is told by ICMP goes on when its server is back", func(t *testing.T) { removedICMP(t, l) })
			t.Run("a drain has an end", func(t *testing.T) { drained(t, l) })
			t.Run("a UDP client is refused, then served by another", func(t *testing.T) { refused(t, l) })
			t.Run("a UDP flow is scheduled anew", func(t *testing.T) { rescheduled(t, l) })
			if t.Failed() {
				report(t, l)
			}
		})
	}
}

// TestServersThatVanish: the server is dead, and only then removed, as a health
// check does.
func TestServersThatVanish(t *testing.T) {
	for _, topology := range []string{"nat", "dr6"} {
		t.Run(topology, func(t *testing.T) {
			l := labtest.Start(t, labtest.Build(t, topology, lab.Options{}))
			labtest.NeedIP(t)
			withPolicy(t, l, "-t", 80, "--gone", "reset")
			idle, busy := openSession(t, l), openSession(t, l)
			if idle.server == busy.server {
				busy.Close()
				busy = openSession(t, l)
			}
			for _, s := range []*session{idle, busy} {
				sh(t, l, strings.Replace(s.server, "Web", "rs", 1), "for n in /sys/class/net/eth*; do ip link set ${n##*/} down; done")
			}
			if _, err := busy.ask(300 * time.Millisecond); !isTimeout(err) {
				t.Fatalf("a dead server answers: %v", err)
			}
			for _, s := range []*session{idle, busy} {
				take(t, l, s.server, "-t", 80)
				s.awaitReset(t)
			}
		})
	}
}

// withPolicy gives a service a policy for the time of a test.
func withPolicy(t *testing.T, l *lab.Lab, service string, port uint16, words ...string) {
	t.Helper()
	labtest.Exec(t, l, "director", append([]string{"uvs", "policy", service, vip(l, port)}, words...)...)
	t.Cleanup(func() { labtest.Exec(t, l, "director", "uvs", "policy", service, vip(l, port), "--gone", "drop") })
}

// serverCommand is the topology's own "ipvsadm -a" for the server of that name.
func serverCommand(t *testing.T, l *lab.Lab, server, service string, port uint16) []string {
	t.Helper()
	n := 0
	for _, c := range l.Topology.Node("director").Setup {
		if slices.Contains(c, "-a") {
			if n++; fmt.Sprint("Web", n) == server {
				words := slices.Clone([]string(c))
				for i, w := range words {
					if w == "-t" {
						words[i] = service
					}
					if addr, ok := strings.CutSuffix(w, ":80"); ok {
						words[i] = fmt.Sprintf("%s:%d", addr, port)
					}
				}
				return words
			}
		}
	}
	t.Fatalf("no server %s", server)
	return nil
}

// take removes a server for the time of a test, and returns a function that
// brings it back before.
func take(t *testing.T, l *lab.Lab, server, service string, port uint16) (back func()) {
	t.Helper()
	add := serverCommand(t, l, server, service, port)
	at := slices.Index(add, "-r")
	labtest.Exec(t, l, "director", "ipvsadm", "-d", service, vip(l, port), "-r", add[at+1])
	done := false
	back = func() {
		if !done {
			labtest.Exec(t, l, "director", add...)
			done = true
		}
	}
	t.Cleanup(back)
	return back
}

// established counts the connections of clients that a server's kernel knows.
func established(t *testing.T, l *lab.Lab, server string) (n int) {
	t.Helper()
	out := labtest.Exec(t, l, strings.Replace(server, "Web", "rs", 1), "cat", "/proc/net/tcp", "/proc/net/tcp6")
	for line := range strings.Lines(out) {
		if w := strings.Fields(line); len(w) > 3 && strings.HasSuffix(w[1], ":0050") && w[3] == "01" {
			n++
		}
	}
	return n
}

func removedReset(t *testing.T, l *lab.Lab) {
	withPolicy(t, l, "-t", 80, "--gone", "reset")
	s := openSession(t, l)
	other := openSession(t, l)
	if s.server == other.server {
		t.Fatalf("both sessions are with %s", s.server)
	}
	take(t, l, s.server, "-t", 80)
	s.awaitReset(t)
	awaitNone(t, l, s.server)
	if server, err := other.ask(patience); server != other.server || err != nil {
		t.Errorf("the other session was answered by %q, %v", server, err)
	}
}

func downloadReset(t *testing.T, l *lab.Lab) {
	withPolicy(t, l, "-t", 80, "--gone", "reset")
	s := openSession(t, l)
	fmt.Fprint(s, "GET /bytes/100000000000 HTTP/1.1\r\nHost: vip\r\n\r\n")
	if _, err := s.in.Discard(1 << 20); err != nil {
		t.Fatal(err)
	}
	take(t, l, s.server, "-t", 80)
	s.awaitReset(t)
	awaitNone(t, l, s.server)
}

func serviceRemoved(t *testing.T, l *lab.Lab) {
	withPolicy(t, l, "-t", 80, "--gone", "reset", "--drain", "1s")
	s := openSession(t, l)
	began := time.Now()
	labtest.Exec(t, l, "director", "ipvsadm", "-D", "-t", vip(l, 80))
	t.Cleanup(func() {
		for _, c := range l.Topology.Node("director").Setup {
			labtest.Exec(t, l, "director", c...)
		}
	})
	s.askUntil(t, began.Add(500*time.Millisecond), began.Add(time.Second))
	s.awaitReset(t)
	ended(t, began, time.Second)
}

func removedICMP(t *testing.T, l *lab.Lab) {
	withPolicy(t, l, "-t", 80, "--gone", "icmp")
	s := openSession(t, l)
	back := take(t, l, s.server, "-t", 80)
	if server, err := s.ask(300 * time.Millisecond); !errors.Is(err, unix.ETIMEDOUT) && !isTimeout(err) {
		t.Errorf("while its server was removed the client got %q, %v", server, err)
	}
	out := ""
	for deadline := time.Now().Add(patience); !strings.Contains(out, "gone-icmp"); out = labtest.Exec(t, l, "director", "uvs", "stats") {
		if time.Now().After(deadline) {
			t.Fatalf("no gone-icmp is counted:\n%s", out)
		}
	}
	back()
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		t.Fatalf("after the server's return: %v", err)
	}
	resp.Body.Close()
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func drained(t *testing.T, l *lab.Lab) {
	withPolicy(t, l, "-t", 80, "--gone", "reset", "--drain", "2s")
	s := openSession(t, l)
	add := serverCommand(t, l, s.server, "-t", 80)
	edit := append(slices.Clone(add), "-w", "0")
	edit[slices.Index(edit, "-a")] = "-e"
	began := time.Now()
	labtest.Exec(t, l, "director", edit...)
	t.Cleanup(func() {
		edit[len(edit)-1] = "1"
		labtest.Exec(t, l, "director", edit...)
	})
	if out := labtest.Exec(t, l, "director", "uvs", "policy"); !strings.Contains(out, "s left") && time.Since(began) < 2*time.Second {
		t.Errorf("the drain is not listed:\n%s", out)
	}
	s.askUntil(t, began.Add(1500*time.Millisecond), began.Add(2*time.Second))
	s.awaitReset(t)
	ended(t, began, 2*time.Second)
	awaitNone(t, l, s.server)
	if !drainedCounts(t, l, add) {
		t.Errorf("the director counts connections:\n%s", labtest.Exec(t, l, "director", "ipvsadm", "-Lcn"))
	}
}

// drainedCounts reports whether the director counts no connections of the
// server that add added, at the latest when their last seconds are over.
func drainedCounts(t *testing.T, l *lab.Lab, add []string) bool {
	t.Helper()
	server := strings.TrimSuffix(add[slices.Index(add, "-r")+1], ":80") + ":80"
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		for line := range strings.Lines(labtest.Exec(t, l, "director", "ipvsadm", "-Ln", "-t", vip(l, 80))) {
			w := strings.Fields(line)
			if len(w) == 6 && w[1] == server && w[4] == "0" && w[5] == "0" {
				return true
			}
		}
	}
	return false
}

// question is a DNS query for the server's name.
func question(t *testing.T) []byte {
	t.Helper()
	q := dnsmessage.Message{Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName("name."), Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET}}}
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inquire sends the query and returns which server answers.
func inquire(t *testing.T, c net.Conn) (string, error) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(question(t)); err != nil {
		return "", err
	}
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	if err != nil {
		return "", err
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf[:n]); err != nil || len(m.Answers) != 1 {
		t.Fatalf("an answer that is none: %v", err)
	}
	return m.Answers[0].Body.(*dnsmessage.TXTResource).TXT[0], nil
}

// flow is a UDP client that has been answered by a server.
func flow(t *testing.T, l *lab.Lab) (c net.Conn, server string) {
	t.Helper()
	c, err := l.Dial(context.Background(), "client", "udp", vip(l, 53))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if server, err = inquire(t, c); err != nil {
		t.Fatal(err)
	}
	return c, server
}

func refused(t *testing.T, l *lab.Lab) {
	withPolicy(t, l, "-u", 53, "--gone", "reset")
	c, server := flow(t, l)
	take(t, l, server, "-u", 53)
	if _, err := inquire(t, c); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a datagram to a removed server ends with %v, want %v", err, unix.ECONNREFUSED)
	}
	if next, err := inquire(t, c); err != nil || next == server {
		t.Errorf("the next one was answered by %q, %v; want the other server", next, err)
	}
}

func rescheduled(t *testing.T, l *lab.Lab) {
	withPolicy(t, l, "-u", 53, "--udp-reschedule")
	c, server := flow(t, l)
	take(t, l, server, "-u", 53)
	for range 3 {
		if next, err := inquire(t, c); err != nil || next == server {
			t.Errorf("after the server was removed the flow was answered by %q, %v; want the other", next, err)
		}
	}
}

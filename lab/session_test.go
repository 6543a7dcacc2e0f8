package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/conntrack"
	"uvs/lab"
)

// patience is how long to wait for an expected event, even on a busy machine.
const patience = time.Minute

// session is a connection of the client that has been answered once.
type session struct {
	net.Conn
	in     *bufio.Reader
	server string // "Web1"
}

func openSession(t *testing.T, l *lab.Lab) *session {
	t.Helper()
	return openSessionWithin(t, l, vip(l, 80), patience)
}

// openSessionWithin opens a connection to an address.
func openSessionWithin(t *testing.T, l *lab.Lab, address string, wait time.Duration) *session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	c, err := l.Dial(ctx, "client", "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s := &session{Conn: c, in: bufio.NewReader(c)}
	if s.server, err = s.ask(wait); err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends one more request on the connection.
func (s *session) ask(wait time.Duration) (server string, err error) {
	if err := s.SetDeadline(time.Now().Add(wait)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprint(s, "GET / HTTP/1.1\r\nHost: vip\r\n\r\n"); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(s.in, nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var name string
	_, err = fmt.Fscan(resp.Body, &name)
	return name, err
}

// awaitReset reads until the connection ends, which must be by a reset.
func (s *session) awaitReset(t *testing.T) {
	t.Helper()
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	n, err := s.in.Discard(1 << 30)
	if !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("after %d bytes and %v the client's read ends with %v, want %v", n, time.Since(began), err, unix.ECONNRESET)
	}
	t.Logf("reset after %v", time.Since(began).Round(time.Millisecond))
}

// awaitNone waits until the server's kernel knows no connection of a client: its
// reset may arrive after the client's.
func awaitNone(t *testing.T, l *lab.Lab, server string) {
	t.Helper()
	n := established(t, l, server)
	for deadline := time.Now().Add(patience); n > 0 && time.Now().Before(deadline); n = established(t, l, server) {
		time.Sleep(50 * time.Millisecond)
	}
	if n != 0 {
		t.Errorf("the server has %d connections left", n)
	}
}

// tick is the resolution of the director's clock: a drain may end that much early.
const tick = time.Second / conntrack.TicksPerSecond

// askUntil uses the connection while its server drains, until end; a late answer on a busy
// machine proves nothing.
func (s *session) askUntil(t *testing.T, until, end time.Time) {
	t.Helper()
	for time.Now().Before(until) {
		if server, err := s.ask(patience); (server != s.server || err != nil) && time.Until(end) > tick {
			t.Fatalf("%v before the end of the drain the client got %q, %v", time.Until(end), server, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// ended checks that a drain that began at a time or later took as long as it had
// to.
func ended(t *testing.T, began time.Time, want time.Duration) {
	t.Helper()
	if d := time.Since(began); d < want-tick {
		t.Errorf("the drain of %v ended after %v", want, d)
	}
}

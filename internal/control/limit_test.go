package control

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
)

func TestStrangersAreCountedByUserAndTogether(t *testing.T) {
	g := &limitListener{nil, func(uid int) bool { return uid == 0 }, &unprivileged{bounds: bounds{user: 2, all: 3}, users: map[int]int{}}}
	a, b := net.Pipe()
	defer b.Close()
	var in []net.Conn
	for _, c := range []struct {
		name string
		uid  int
		in   bool
	}{
		{"the first of a user", 7, true},
		{"the second of a user", 7, true},
		{"one too many of a user", 7, false},
		{"the first of another", 8, true},
		{"one too many of all", 9, false},
		{"root", 0, true},
		{"root once more", 0, true},
	} {
		conn := g.admit(a, c.uid)
		if got := conn != nil; got != c.in {
			t.Errorf("%s: let in %v, want %v", c.name, got, c.in)
		}
		in = append(in, conn)
	}
	in[0].Close()
	in[0].Close() // twice counts once
	if g.admit(a, 9) == nil {
		t.Error("a place that was left is not free")
	}
	if g.admit(a, 7) != nil {
		t.Error("a connection that was closed twice left two places")
	}
}

func TestStrangersGetAQuarterOfTheDescriptors(t *testing.T) {
	for descriptors, want := range map[uint64]bounds{0: {2, 8}, 64: {4, 16}, 128: {8, 32}, 1024: {16, 64}, 1 << 40: {16, 64}} {
		if got := boundsOf(descriptors); got != want {
			t.Errorf("of %d descriptors: %+v, want %+v", descriptors, got, want)
		}
	}
}

// TestIdleConnectionsOfAStrangerLeaveRoomForOthers opens 300 connections that
// send nothing. Those beyond the limit get an answer with the reason.
func TestIdleConnectionsOfAStrangerLeaveRoomForOthers(t *testing.T) {
	var known atomic.Bool
	socket := serveBehind(t, func(int) bool { return known.Load() })
	turned := 0
	for range 300 {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if turned > 0 || len(answerOf(c, time.Millisecond)) > 0 {
			turned++
		}
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := answerOf(c, time.Minute); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.Contains(got, `"code":"busy"`) {
		t.Errorf("one too many is told %q", got)
	}
	if turned == 0 {
		t.Error("300 idle connections were all let in")
	}
	known.Store(true)
	if status, text := ask(t, socket, "GET", "/v1/about", ""); status != http.StatusOK {
		t.Errorf("who may write gets %d %s", status, text)
	}
}

func answerOf(c net.Conn, wait time.Duration) string {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	text, _ := io.ReadAll(c)
	return string(text)
}

// serveBehind serves behind a limitListener with the given trust.
func serveBehind(t *testing.T, trusted func(int) bool) (socket string) {
	return serveDirectorBehind(t, controltest.New(), trusted)
}

func serveDirectorBehind(t *testing.T, d Director, trusted func(int) bool) (socket string) {
	s := NewServer(d, config.About{Program: "uvs"}, slog.New(slog.DiscardHandler))
	socket = filepath.Join(t.TempDir(), "uvs")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	g := newLimitListener(l)
	g.trusted = trusted
	done := make(chan error, 1)
	go func() { done <- s.http.Serve(g) }()
	t.Cleanup(func() { s.Close(); <-done })
	return socket
}

// pipes is a listener whose connections are made in memory.
type pipes struct {
	next   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.next:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// dial connects as a user who may write or not. closed is set when the server has closed the
// connection.
func (p *pipes) dial(trusted bool) (c net.Conn, closed *atomic.Bool) {
	ours, theirs := net.Pipe()
	closed = &atomic.Bool{}
	p.next <- &limitedConn{Conn: theirs, trusted: trusted, leave: func() { closed.Store(true) }}
	return ours, closed
}

// slow is a director with many connections, which records a packet an hour.
type slow struct{ controltest.Director }

func (*slow) Connections() []config.Connection {
	return make([]config.Connection, 10000) // more than a buffer of the server takes
}

func (*slow) Trace(ctx context.Context, n int, _ config.TraceOptions) (iter.Seq[config.Trace], error) {
	return func(yield func(config.Trace) bool) {
		for range n {
			select {
			case <-time.After(time.Hour):
			case <-ctx.Done():
				return
			}
			if !yield(config.Trace{Verdict: "pass"}) {
				return
			}
		}
	}, nil
}

func TestWhoIsSlowIsCutOff(t *testing.T) {
	const get = " HTTP/1.1\r\nHost: uvs\r\n"
	for _, c := range []struct {
		name    string
		trusted bool
		says    string
		reads   string // until then
		after   time.Duration
	}{
		{"who says nothing", true, "", "", headerTime},
		{"who begins a header and stops", true, "GET /v1/about" + get, "", headerTime},
		{"who begins a body and stops", true, "POST /v1/services" + get + "Content-Length: 100\r\n\r\n{", "", requestTime},
		{"who asks and then is idle", true, "GET /v1/about" + get + "\r\n", "}\n", idleTime},
		{"a stranger who does not read", false, "GET /v1/connections" + get + "\r\n", "HTTP", unprivilegedTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, done := servePipes(&slow{})
				conn, closed := p.dial(c.trusted)
				if _, err := io.WriteString(conn, c.says); err != nil {
					t.Fatal(err)
				}
				in := bufio.NewReader(conn)
				for read := ""; !strings.HasSuffix(read, c.reads); {
					b, err := in.ReadByte()
					if err != nil {
						t.Fatalf("read %q: %v", read, err)
					}
					read += string(b)
				}
				if c.trusted {
					go io.Copy(io.Discard, in)
				}
				time.Sleep(c.after - time.Second)
				synctest.Wait()
				if closed.Load() {
					t.Errorf("it was cut off within %v", c.after-time.Second)
				}
				time.Sleep(2 * time.Second)
				synctest.Wait()
				if !closed.Load() {
					t.Errorf("it is not cut off after %v", c.after+time.Second)
				}
				done()
			})
		})
	}
}

func TestWhoMayWriteReadsAsSlowlyAsHeLikes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, done := servePipes(&slow{})
		conn, _ := p.dial(true)
		fmt.Fprint(conn, "GET /v1/connections HTTP/1.0\r\n\r\n")
		time.Sleep(time.Hour)
		text, err := io.ReadAll(conn)
		if err != nil || !strings.HasSuffix(string(text), "]\n") {
			t.Errorf("read %d bytes: %v", len(text), err)
		}
		done()
	})
}

func TestARecordingLivesAsLongAsItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, done := servePipes(&slow{})
		conn, _ := p.dial(true)
		fmt.Fprint(conn, "GET /v1/trace?n=5 HTTP/1.0\r\n\r\n")
		text, err := io.ReadAll(conn)
		if n := strings.Count(string(text), `"pass"`); err != nil || n != 5 {
			t.Errorf("%d of 5 packets in as many hours: %v", n, err)
		}
		done()
	})
}

func TestHeadersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, done := servePipes(&slow{})
		conn, _ := p.dial(false)
		go fmt.Fprintf(conn, "GET /v1/about HTTP/1.1\r\nHost: uvs\r\nA: %s\r\n\r\n", strings.Repeat("a", 64<<10))
		text, _ := io.ReadAll(conn)
		if !strings.HasPrefix(string(text), "HTTP/1.1 431 ") {
			t.Errorf("a header of 64 KB is answered by %.60q", text)
		}
		done()
	})
}

func servePipes(d Director) (p *pipes, done func()) {
	p = &pipes{next: make(chan net.Conn), closed: make(chan struct{})}
	s := NewServer(d, config.About{Program: "uvs"}, slog.New(slog.DiscardHandler))
	served := make(chan struct{})
	go func() { defer close(served); s.http.Serve(p) }()
	return p, func() { s.Close(); <-served }
}

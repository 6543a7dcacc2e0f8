package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestPages(t *testing.T) {
	h := Config{Name: "Web7", Log: slog.Default()}.Handler()
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	stream, _ := io.ReadAll(Stream(10))
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"the name", "GET", "/", "", 200, "Web7\n"},
		{"a stream", "GET", "/bytes/10", "", 200, string(stream)},
		{"an empty stream", "GET", "/bytes/0", "", 200, ""},
		{"a length that is none", "GET", "/bytes/x", "", 400, "not a number of bytes\n"},
		{"a negative length", "GET", "/bytes/-1", "", 400, "not a number of bytes\n"},
		{"a hash", "POST", "/sum", "abc", 200, sum([]byte("abc")) + " 3\n"},
		{"the client", "GET", "/client", "", 200, "192.0.2.1:1234\n"},
		{"no such page", "GET", "/x", "", 404, "404 page not found\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
			if w.Code != c.status || w.Body.String() != c.want || w.Header().Get("Real-Server") != "Web7" {
				t.Errorf("got %d %q from %q", w.Code, w.Body, w.Header().Get("Real-Server"))
			}
		})
	}
}

func TestAStreamDoesNotRepeat(t *testing.T) {
	a, _ := io.ReadAll(Stream(1 << 16))
	again, _ := io.ReadAll(Stream(1 << 16))
	if !bytes.Equal(a, again) {
		t.Error("two streams of one length differ")
	}
	if bytes.Equal(a[:1<<15], a[1<<15:]) || bytes.Contains(a[1460:], a[:1460]) {
		t.Error("a stream repeats itself")
	}
}

func TestRespondersAnswerFromTheAddressAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	port := freePort(t)
	address := fmt.Sprintf(":%d", port)
	done := make(chan error)
	go func() { done <- Serve(ctx, Config{Name: "Web7", DNS: address, Log: slog.Default()}) }()
	for _, c := range []struct {
		name, to string
		typ      dnsmessage.Type
		want     string
	}{
		{"TXT is the name", "127.0.0.1", dnsmessage.TypeTXT, "Web7"},
		{"A is the address that was asked", "127.1.2.3", dnsmessage.TypeA, "127.1.2.3"},
		{"AAAA likewise", "::1", dnsmessage.TypeAAAA, "::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("udp", net.JoinHostPort(c.to, fmt.Sprint(port)))
			if err != nil {
				t.Skip(err)
			}
			defer conn.Close()
			if got := exchange(t, conn, c.typ); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// exchange sends queries until the responder listens. A connected socket accepts answers only
// from the address to which it sent.
func exchange(t *testing.T, conn net.Conn, typ dnsmessage.Type) string {
	t.Helper()
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 9}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("x."), Type: typ, Class: dnsmessage.ClassINET}}}
	b, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	for range 100 {
		_, _ = conn.Write(b)
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := conn.Read(buf)
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		var a dnsmessage.Message
		if err := a.Unpack(buf[:n]); err != nil || len(a.Answers) != 1 {
			t.Fatalf("answer %x: %v", buf[:n], err)
		}
		switch body := a.Answers[0].Body.(type) {
		case *dnsmessage.TXTResource:
			return strings.Join(body.TXT, "")
		case *dnsmessage.AResource:
			return net.IP(body.A[:]).String()
		case *dnsmessage.AAAAResource:
			return net.IP(body.AAAA[:]).String()
		}
	}
	t.Fatal("no answer")
	return ""
}

func TestWhatIsNoQueryGetsNoAnswer(t *testing.T) {
	cfg := Config{Name: "Web7"}
	answer := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	response, _ := answer.Pack()
	for _, q := range [][]byte{nil, []byte("hello"), response, make([]byte, 12)} {
		if a := cfg.dns(q, net.IPv4(1, 2, 3, 4)); a != nil {
			t.Errorf("%x is answered with %x", q, a)
		}
	}
}

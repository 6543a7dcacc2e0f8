package metrics

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"uvs/internal/fdstore"
)

func TestAnAddressIsOnTheLoopbackUnlessItSaysOtherwise(t *testing.T) {
	for text, want := range map[string]string{
		"9100": "tcp 127.0.0.1:9100", ":9100": "tcp 127.0.0.1:9100", "localhost:9100": "tcp 127.0.0.1:9100",
		"0.0.0.0:9100": "tcp 0.0.0.0:9100", "10.0.0.1:9100": "tcp 10.0.0.1:9100",
		"[::1]:9100": "tcp [::1]:9100", "[::]:0": "tcp [::]:0",
		"/run/uvs/metrics": "unix /run/uvs/metrics", "@metrics": "unix @metrics",
		"": "", "65536": "", "-1": "", "http": "", "10.0.0.1": "", "director:9100": "", "::1": "", "[::1]:": "", "a:b:c": "",
	} {
		network, address, err := Address(text)
		switch got := network + " " + address; {
		case err == nil && got != want:
			t.Errorf("%q is %s, want %s", text, got, want)
		case (err != nil) != (want == ""):
			t.Errorf("%q: %v", text, err)
		case err != nil && !strings.Contains(err.Error(), "the path of a unix socket") && !strings.Contains(err.Error(), "no IP address"):
			t.Errorf("%q: %v", text, err)
		}
	}
}

// get asks for the metrics over a socket, and sends what came, or the error, to a channel.
func get(network, address string) <-chan string {
	came := make(chan string, 1)
	go func() {
		c, err := net.Dial(network, address)
		if err != nil {
			came <- err.Error()
			return
		}
		defer c.Close()
		fmt.Fprint(c, "GET /metrics HTTP/1.0\r\n\r\n")
		text, err := io.ReadAll(c)
		came <- fmt.Sprint(string(text), err)
	}()
	return came
}

func TestAScrapeWaitsForTheNextDirector(t *testing.T) {
	dir := t.TempDir()
	for _, at := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", filepath.Join(dir, "metrics")}} {
		store := fdstore.New()
		l, err := Listen(at[0], at[1], store)
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		use := func(f func()) bool { f(); return true }
		first := NewServer(New(), l, use, quiet)
		go first.Serve()
		if text := <-get(at[0], address); !strings.Contains(text, "go_goroutines") {
			t.Errorf("the first: %.200s", text)
		}
		first.Leave()
		waits := get(at[0], address)
		if l, err = Listen(at[0], address, store); err != nil {
			t.Fatal(err)
		}
		second := NewServer(New(), l, use, quiet)
		go second.Serve()
		if text := <-waits; !strings.Contains(text, "go_goroutines") {
			t.Errorf("who asked meanwhile: %.200s", text)
		}
		second.Close()
		store.Close()
	}
}

func TestAnotherAddressIsNotThatOfTheLastDirector(t *testing.T) {
	store := fdstore.New()
	defer store.Close()
	dir := t.TempDir()
	l, err := Listen("unix", filepath.Join(dir, "one"), store)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if l, err = Listen("unix", filepath.Join(dir, "two"), store); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if at := l.Addr().String(); filepath.Base(at) != "two" {
		t.Errorf("it listens on %s", at)
	}
	if _, err := Listen("unix", filepath.Join(dir, "two"), nil); err == nil || !strings.Contains(err.Error(), "metrics: listen unix") {
		t.Errorf("two listen on one address: %v", err)
	}
}

func TestADirectorThatEndsIsNotAsked(t *testing.T) {
	l, err := Listen("unix", filepath.Join(t.TempDir(), "m"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(New(), l, func(func()) bool { return false }, quiet)
	go s.Serve()
	defer s.Close()
	if text := <-get("unix", l.Addr().String()); !strings.Contains(text, fmt.Sprint(http.StatusServiceUnavailable)) {
		t.Errorf("it answered %.200s", text)
	}
}

// A reader that is stuck holds up neither the director nor other readers.
func TestASlowReaderHoldsUpNobody(t *testing.T) {
	l, err := Listen("unix", filepath.Join(t.TempDir(), "m"), nil)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, "")
	b.serve(3000) // more than a socket takes at once
	used := make(chan bool, 8)
	s := NewServer(b.m, l, func(f func()) bool { f(); used <- true; return true }, quiet)
	go s.Serve()
	defer s.Close()
	stuck, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	fmt.Fprint(stuck, "GET /metrics HTTP/1.0\r\n\r\n")
	<-used
	if text := <-get("unix", l.Addr().String()); !bytes.Contains([]byte(text), []byte("uvs_server_weight")) {
		t.Errorf("the other reader got %.200s", text)
	}
}

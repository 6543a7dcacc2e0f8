package control

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
	"uvs/internal/events"
	"uvs/internal/peer"
)

// eventServer serves a Ring of events on a socket.
func eventServer(t *testing.T, keepAlive time.Duration) (s *Server, ring *events.Ring, socket string, log *slog.Logger) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "uvs")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ring = events.New()
	log = slog.New(ring.Handler(slog.DiscardHandler))
	s = NewServer(controltest.New(), config.About{}, slog.New(slog.DiscardHandler))
	s.keepAlive = keepAlive
	s.Events(ring)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, ring, socket, log
}

func names(t *testing.T, c *client.Client, q client.EventsQuery, n int) (names []string, last string) {
	t.Helper()
	for e, err := range c.Events(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		names, last = append(names, e.Name), e.ID
		if len(names) == n {
			break
		}
	}
	return names, last
}

func TestAStreamBeginsWithWhatWasAndGoesOnWithWhatComes(t *testing.T) {
	_, _, socket, log := eventServer(t, time.Hour)
	log.Warn("one", "event", "first")
	log.Warn("none")
	begun := time.Now()
	log.Info("two", "event", "second")
	c := client.New(socket)
	got, last := names(t, c, client.EventsQuery{}, 0)
	if diff := cmp.Diff([]string{"first", "second"}, got); diff != "" {
		t.Error(diff)
	}
	if got, _ := names(t, c, client.EventsQuery{Since: begun}, 0); len(got) != 1 || got[0] != "second" {
		t.Errorf("since the second: %q", got)
	}
	log.Info("three", "event", "third")
	if got, _ := names(t, c, client.EventsQuery{After: last}, 0); len(got) != 1 || got[0] != "third" {
		t.Errorf("after the second: %q", got)
	}
	got = nil
	for e, err := range c.Events(t.Context(), client.EventsQuery{Follow: true, After: last}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, e.Name); e.Name == "third" {
			log.Info("four", "event", "fourth")
			continue
		}
		break
	}
	if diff := cmp.Diff([]string{"third", "fourth"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestASilentStreamIsKeptOpenByComments(t *testing.T) {
	_, _, socket, log := eventServer(t, time.Millisecond)
	log.Info("one", "event", "first")
	c := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return peer.Dial(ctx, socket) },
	}}
	defer c.CloseIdleConnections()
	answer, err := c.Get("http://uvs/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if h := answer.Header; h.Get("Content-Type") != "text/event-stream" || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
	var lines []string
	in := bufio.NewScanner(answer.Body)
	for in.Scan() {
		lines = append(lines, in.Text())
		if in.Text() == ":" {
			break
		}
	}
	if len(lines) != 5 || !strings.HasPrefix(lines[0], "id: ") || lines[1] != "event: first" || !strings.HasPrefix(lines[2], `data: {"id":`) || lines[3] != "" {
		t.Errorf("the stream begins with %q", lines)
	}
}

func TestStreamsOfEventsDoNotHoldUpAReplacement(t *testing.T) {
	s, _, socket, log := eventServer(t, time.Hour)
	log.Info("one", "event", "first")
	ended := make(chan error, 1)
	begun := make(chan bool, 1)
	go func() {
		var last error
		for _, err := range client.New(socket).Events(t.Context(), client.EventsQuery{Follow: true}) {
			last = err
			begun <- true
		}
		ended <- last
	}()
	<-begun
	done := make(chan bool)
	go func() { _ = s.http.Shutdown(t.Context()); close(done) }()
	s.closing.Do(func() { close(s.closed) })
	<-done // without a request that is cut off
	if err := <-ended; err != nil {
		t.Errorf("the reader got %v", err)
	}
}

func TestMissedEventsAreToldInTheirPlace(t *testing.T) {
	_, ring, socket, log := eventServer(t, time.Hour)
	log.Info("one", "event", "first")
	list, _, _, _ := ring.After(0)
	for range events.Room + 2 {
		log.Info("one", "event", "first")
	}
	for _, c := range []struct {
		reader string
		id     string
		missed int
	}{
		{"one that comes for the first time", "", 0},
		{"one that had the first event", list[0].ID, 2},
		{"one of another director", "another-7", 3},
	} {
		_, before := ring.Counts()
		r, err := http.NewRequest("GET", "http://uvs/v1/events?follow=false", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.id != "" {
			r.Header.Set("Last-Event-ID", c.id)
		}
		names := eventNames(t, socket, r)
		want := slices.Repeat([]string{"first"}, events.Room)
		if c.missed > 0 {
			want = append([]string{config.EventsMissed}, want...)
		}
		if !slices.Equal(names, want) {
			t.Errorf("%s: %d events, the first is %q", c.reader, len(names), names[0])
		}
		if _, missed := ring.Counts(); missed != before+uint64(c.missed) {
			t.Errorf("%s: %d counted as missed, want %d", c.reader, missed-before, c.missed)
		}
	}
}

// eventNames asks for a stream that ends, and returns the names of its events.
func eventNames(t *testing.T, socket string, r *http.Request) (names []string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	answer, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// stuck is a reader that takes nothing.
type stuck struct{ http.ResponseWriter }

func (stuck) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestAStuckReaderIsCutOffAndWhatItMissedIsCounted(t *testing.T) {
	s, ring, _, log := eventServer(t, time.Hour)
	log.Info("one", "event", "first")
	s.tell(stuck{httptest.NewRecorder()}, httptest.NewRequest("GET", "/v1/events", nil), eventStream{follow: true})
	if _, missed := ring.Counts(); missed != 1 {
		t.Errorf("%d counted as missed, want 1", missed)
	}
}

func TestAWrongQueryForEventsIsRefused(t *testing.T) {
	_, _, socket, _ := eventServer(t, time.Hour)
	for query, field := range map[string]string{"since=yesterday": "since", "follow=perhaps": "follow"} {
		status, text := ask(t, socket, "GET", "/v1/events?"+query, "")
		if status != http.StatusBadRequest || !strings.Contains(text, `"field":"`+field+`"`) {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
}

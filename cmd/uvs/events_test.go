package main

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/control"
	"uvs/internal/control/controltest"
	"uvs/internal/events"
)

// tellingDirector serves a director without an engine on a socket, and returns the log whose
// events it tells.
func tellingDirector(t *testing.T, socket string) (log *slog.Logger, end func()) {
	t.Helper()
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ring := events.New()
	s := control.NewServer(controltest.New(), config.About{}, slog.New(slog.DiscardHandler))
	s.Events(ring)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	return slog.New(ring.Handler(slog.DiscardHandler)), func() {
		s.Drain()
		<-done
		l.Close()
	}
}

func TestFollowedEventsGoOnWithTheNextDirector(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "uvs")
	ctx, stop := context.WithCancel(t.Context())
	shown := make(chan string)
	ended := make(chan error, 1)
	log, end := tellingDirector(t, socket)
	log.Info("one", "event", "first")
	go func() {
		ended <- followEvents(ctx, client.New(socket), client.EventsQuery{Follow: true}, func(e config.Event) error {
			shown <- e.Name
			return nil
		})
	}()
	want := func(name string) {
		t.Helper()
		if got := <-shown; got != name {
			t.Errorf("shown %q, want %q", got, name)
		}
	}
	want("first")
	log.Info("two", "event", "second")
	want("second")
	end()
	log, end = tellingDirector(t, socket)
	defer end()
	log.Info("three", "event", "third")
	want("third")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAnEventIsALineWithItsAttributesInOrder(t *testing.T) {
	e := config.Event{Time: time.Date(2026, 1, 31, 12, 0, 0, 5e6, time.UTC), Level: "warn", Name: "guard-lost", Message: "it is gone",
		Attributes: map[string]any{"why": "no such table", "n": 3.0, "empty": ""}}
	var out bytes.Buffer
	if err := eventPrinter(&out, false)(e); err != nil {
		t.Fatal(err)
	}
	if want := ` warn  guard-lost: it is gone empty="" n=3 why="no such table"` + "\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("got  %q\nwant …%q", out.String(), want)
	}
}

func TestSinceIsATimeOrHowLongAgo(t *testing.T) {
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "90s": now.Add(-90 * time.Second), "2026-01-30T10:00:00+02:00": time.Date(2026, 1, 30, 8, 0, 0, 0, time.UTC),
		"2026-01-30": time.Date(2026, 1, 30, 0, 0, 0, 0, time.Local),
	} {
		if got, err := sinceTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"-5m", "10", "tomorrow", "12:00"} {
		if _, err := sinceTime(text, now); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

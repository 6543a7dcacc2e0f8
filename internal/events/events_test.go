package events

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
)

func TestALineWithTheAttributeEventIsRemembered(t *testing.T) {
	var text bytes.Buffer
	r := New()
	log := slog.New(r.Handler(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn})))
	log.Info("no event", "server", 1)
	log.With("link", "eth0").Info("not in the log", "event", "a", "for", time.Second)
	log.WithGroup("g").With("x", 1).Warn("a group", "y", true)
	log.Error("in both", "event", "b", "err", errors.New("why"), "at", netip.MustParseAddr("10.0.0.1"), "n", uint16(7))
	log.Debug("too fine", "event", "c")

	list, next, missed, _ := r.After(0)
	if missed != 0 || next != 2 {
		t.Errorf("%d missed, next %d", missed, next)
	}
	want := []config.Event{
		{ID: r.process + "-1", Level: "info", Name: "a", Message: "not in the log", Attributes: map[string]any{"link": "eth0", "for": "1s"}},
		{ID: r.process + "-2", Level: "error", Name: "b", Message: "in both", Attributes: map[string]any{"err": "why", "at": "10.0.0.1", "n": uint64(7)}},
	}
	for i := range list {
		if time.Since(list[i].Time) > time.Minute || list[i].Time.Location() != time.UTC {
			t.Errorf("event %d at %v", i, list[i].Time)
		}
		list[i].Time = time.Time{}
	}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	if n := strings.Count(text.String(), "\n"); n != 2 || !strings.Contains(text.String(), "event=b") {
		t.Errorf("the log:\n%s", &text)
	}
}

func TestAReaderContinuesAfterTheLastEventThatItHad(t *testing.T) {
	r := New()
	for range 3 {
		r.add(config.Event{Name: "x"})
	}
	for _, c := range []struct {
		id   string
		left int
	}{
		{"", 3}, {r.process + "-1", 2}, {r.process + "-3", 0},
		{r.process + "-4", 3}, {"another-2", 3}, {"nonsense", 3}, {r.process + "-", 3},
	} {
		if list, _, _, _ := r.After(r.Position(c.id)); len(list) != c.left {
			t.Errorf("after %q: %d events, want %d", c.id, len(list), c.left)
		}
	}
}

func TestWhatASlowReaderMissesIsCounted(t *testing.T) {
	r := New()
	for range Room + 5 {
		r.add(config.Event{Name: "x"})
	}
	list, next, missed, more := r.After(2)
	if len(list) != Room || missed != 3 || list[0].ID != r.process+"-6" {
		t.Errorf("%d events from %s, %d missed", len(list), list[0].ID, missed)
	}
	select {
	case <-more:
		t.Error("told of more")
	default:
	}
	r.add(config.Event{Name: "y"})
	<-more
	if list, _, missed, _ := r.After(next); len(list) != 1 || missed != 0 || list[0].Name != "y" {
		t.Errorf("then %v, %d missed", list, missed)
	}
	r.Missed(3)
	if counts, missed := r.Counts(); counts["x"] != Room+5 || counts["y"] != 1 || missed != 3 {
		t.Errorf("counts %v, %d missed", counts, missed)
	}
}

package forwarder

import (
	"bytes"
	"log/slog"
	"testing"

	"uvs/forwarder/guard"
)

// lostGuard is gone until it has been set often enough.
type lostGuard struct {
	noGuard
	sets, missing int
}

func (g *lostGuard) Check() error {
	if g.missing > 0 {
		return guard.ErrLost
	}
	return nil
}

func (g *lostGuard) Set(guard.Rules) error {
	g.sets++
	if g.missing--; g.missing > 0 {
		return guard.ErrUnavailable
	}
	return nil
}

func TestAGuardThatIsGoneIsMadeAnewAndToldOfOnce(t *testing.T) {
	b := newTestbed(t, udpByNAT)
	g := &lostGuard{missing: 3}
	var log bytes.Buffer
	b.fw.conf.Guard, b.fw.log = g, slog.New(slog.NewTextHandler(&log, nil))
	lost := false
	for _, want := range []int{2, 0, 0, 1, 0} { // it is gone and not made at once, …, it is back
		lost = b.fw.checkGuard(lost)
		if lines := said(&log); len(lines) != want {
			t.Errorf("after %d tries: %q, want %d lines", g.sets, lines, want)
		}
	}
	if lost || g.sets != 3 {
		t.Errorf("lost: %t after %d tries, want it back after 3", lost, g.sets)
	}
}

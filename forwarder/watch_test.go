package forwarder

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

// said returns the lines of a log, without their times.
func said(log *bytes.Buffer) (lines []string) {
	for line := range strings.Lines(log.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), "level=")
		lines = append(lines, line)
	}
	log.Reset()
	return lines
}

func TestATroubleIsToldOnceUntilItHasBeenQuietForAMinute(t *testing.T) {
	var log bytes.Buffer
	w := newWatch(slog.New(slog.NewTextHandler(&log, nil)), map[string]uint64{})
	now := time.Now()
	for _, c := range []struct {
		after time.Duration
		count uint64
		lines int
	}{
		{0, 0, 0},
		{2 * time.Second, 5, 1},   // it begins
		{2 * time.Second, 900, 0}, // it goes on
		{50 * time.Second, 900, 0},
		{2 * time.Second, 901, 0}, // again, too soon
		{59 * time.Second, 901, 0},
		{2 * time.Second, 901, 0}, // it has been quiet for a minute
		{2 * time.Second, 950, 1},
	} {
		now = now.Add(c.after)
		w.counters(now, map[string]uint64{"port-refused-no-buffer": c.count, "forward": c.count})
		if lines := said(&log); len(lines) != c.lines {
			t.Errorf("at %d refused: %q, want %d lines", c.count, lines, c.lines)
		}
	}
}

func TestAProcessThatStoodStillIsTold(t *testing.T) {
	var log bytes.Buffer
	w := newWatch(slog.New(slog.NewTextHandler(&log, nil)), nil)
	now := time.Now()
	for _, gap := range []time.Duration{0, 100, 900, 100, 5100, 100} {
		w.idle(now)
		now = now.Add(gap * time.Millisecond)
		w.tick(now, 100*time.Millisecond)
		now = now.Add(2 * time.Second) // what it did itself
	}
	if lines := said(&log); len(lines) != 1 || !strings.Contains(lines[0], "for=5s") {
		t.Errorf("said %q, want the 5 s", lines)
	}
}

// faulty is a port that fails to receive a few times.
type faulty struct {
	*porttest.Port
	failures int
}

func (p *faulty) Recv(fs []frame.Frame) (int, error) {
	if p.failures--; p.failures >= 0 {
		return 0, unix.EIO
	}
	return p.Port.Recv(fs)
}

func TestAPortThatCannotReceiveIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, udpByNAT)
		var log bytes.Buffer
		b.fw.log = slog.New(slog.NewTextHandler(&log, nil))
		w := b.workers[1]
		w.port = &faulty{b.mem.near[1], 5}
		var working sync.WaitGroup
		working.Go(w.run)
		b.mem.far[1].Inject(dgram(t, 1, "172.16.0.9:5000", "10.2.0.1:53", "question"))
		time.Sleep(time.Second)
		synctest.Wait()
		if n := b.verdict(frame.Forward); n != 1 {
			t.Errorf("%d frames were forwarded, want 1", n)
		}
		w.port.Close()
		working.Wait()
		if lines := said(&log); len(lines) != 1 || !strings.Contains(lines[0], "input/output error") {
			t.Errorf("said %q, want one line", lines)
		}
	})
}

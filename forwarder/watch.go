package forwarder

import (
	"log/slog"
	"time"
)

// watch says in the log, once, that something goes wrong which only counters tell of:
// frames are lost by the ring or refused by the kernel, the process does not run. It
// belongs to one goroutine.
type watch struct {
	log   *slog.Logger
	last  map[string]uint64    // of the counters watched
	since map[string]time.Time // when each grew last; absent: it has not for quiet
	idled time.Time            // when the housekeeping had nothing more to do
}

// quiet is how long a counter has to stand still before its growth is told of again.
const quiet = time.Minute

// late is how much later than due a tick of the housekeeping says that the process did
// not run: it was stopped, or the machine had no time for it.
const late = time.Second

// trouble is what it means that a counter grows.
type trouble struct{ event, what string }

// troubles are the counters watched.
var troubles = map[string]trouble{
	"port-ring-drops":        {event: "ring-drops", what: "frames are lost: the workers do not run, or are too slow"},
	"port-refused-no-buffer": {event: "send-queue-full", what: "frames are refused by the kernel: the queue of a device or socket is full"},
	"port-refused-link-down": {event: "send-link-down", what: "frames are refused by the kernel: their interface is down or gone"},
}

// newWatch returns a watch over counters that begin as they are now.
func newWatch(log *slog.Logger, now map[string]uint64) *watch {
	return &watch{log: log, last: now, since: map[string]time.Time{}}
}

// idle is called when the housekeeping begins to wait for its next tick.
func (w *watch) idle(now time.Time) { w.idled = now }

// tick is called for each tick, and told how far apart they are.
func (w *watch) tick(now time.Time, period time.Duration) {
	if gap := now.Sub(w.idled) - period; gap >= late {
		w.log.Warn("the director did not run for a while; frames waited in the ring, as far as it has room", "event", "director-stalled", "for", gap.Round(100*time.Millisecond))
	}
}

// counters is called every few seconds.
func (w *watch) counters(now time.Time, all map[string]uint64) {
	for name, t := range troubles {
		grown := all[name] - w.last[name]
		w.last[name] = all[name]
		began, known := w.since[name]
		switch {
		case grown > 0 && !known:
			w.log.Warn(t.what, "event", t.event, "counter", name, "frames", grown)
			w.since[name] = now
		case grown > 0:
			w.since[name] = now
		case known && now.Sub(began) >= quiet:
			delete(w.since, name)
		}
	}
}

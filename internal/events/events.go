// Package events remembers what happened to a director. An event is a log record with the
// attribute "event", whose value is a stable name (docs/events.md):
//
//	log.Warn("the guard was flushed; it is back", "event", "guard-restored", "table", name)
//
// A Ring copies such records from the log on their way. It has room for the last ones, and
// readers follow it by their own pace: one that is slow misses some, which is counted, and
// holds up nobody.
package events

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"math"
	"strconv"
	"strings"
	"sync"

	"uvs/forwarder/config"
)

// Room is how many events a Ring remembers.
const Room = 1024

// Ring remembers the last events. All methods are safe for concurrent use.
type Ring struct {
	process string // tells its events from those of other directors

	mu     sync.Mutex
	last   []config.Event // event n is at n-1 modulo Room
	count  uint64
	more   chan struct{} // closed when the next one comes
	counts map[string]uint64
	missed uint64
}

// New returns a Ring without events.
func New() *Ring {
	var process [4]byte
	rand.Read(process[:])
	return &Ring{process: hex.EncodeToString(process[:]), more: make(chan struct{}), counts: map[string]uint64{}}
}

// add remembers an event and gives it its ID.
func (r *Ring) add(e config.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	e.ID = r.process + "-" + strconv.FormatUint(r.count, 10)
	if len(r.last) < Room {
		r.last = append(r.last, e)
	} else {
		r.last[(r.count-1)%Room] = e
	}
	r.counts[e.Name]++
	close(r.more)
	r.more = make(chan struct{})
}

// Position is a place between two events; the zero value is before the first.
type Position uint64

// oldest is the place of a reader that comes for the first time: before the oldest event
// that is remembered then. It has missed nothing.
const oldest Position = math.MaxUint64

// Position returns the place after the event with an ID. Of another director's event, or an
// ID that is none, it is before the first; without an ID, before the oldest remembered.
func (r *Ring) Position(id string) Position {
	if id == "" {
		return oldest
	}
	process, number, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil || process != r.process || n > r.count {
		return 0
	}
	return Position(n)
}

// After returns the events after a place, the place after them, and how many that were
// between are forgotten. The channel is closed when there is another event.
func (r *Ring) After(p Position) (list []config.Event, next Position, missed uint64, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from, kept := uint64(p), r.count-uint64(len(r.last))
	switch {
	case p == oldest:
		from = kept
	case from < kept:
		missed, from = kept-from, kept
	}
	for n := from; n < r.count; n++ {
		list = append(list, r.last[n%Room])
	}
	return list, Position(r.count), missed, r.more
}

// Missed notes that a reader missed n events.
func (r *Ring) Missed(n uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.missed += n
}

// Counts returns how often each event happened, by its name, and how many events slow
// readers have missed, all of them together.
func (r *Ring) Counts() (of map[string]uint64, missed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.counts), r.missed
}

// Package top shows what a director does, once a second: a page in a terminal, or lines of
// JSON. It asks the director for a summary and the counters, and computes what changed.
package top

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"uvs/forwarder/config"
)

// Director is what top asks.
type Director interface {
	Summary(context.Context, config.SummaryQuery) (config.Summary, error)
	Counters(context.Context) (map[string]uint64, error)
}

// Moment is a director at a moment, with what changed since the moment before.
type Moment struct {
	config.Summary
	// Drops are frames dropped a second, by verdict, of those that were.
	Drops map[string]float64 `json:"drops_per_second"`
	// Received and RingDrops are frames a second, RingDrops those for which the receive
	// rings had no room.
	Received    float64 `json:"received_per_second"`
	RingDrops   float64 `json:"ring_drops_per_second"`
	Waiting     uint64  `json:"waiting"`     // frames, for a MAC address, fragments, the guard or a server
	Connections uint64  `json:"connections"` // in the table, templates too

	counters map[string]uint64
	decided  uint64 // the number of the last decision that was received
}

// next asks the director and compares with the moment before, nil if there is none.
func next(ctx context.Context, d Director, q config.SummaryQuery, before *Moment) (*Moment, error) {
	if before != nil {
		q.After = before.decided
	}
	s, err := d.Summary(ctx, q)
	if err != nil {
		return nil, err
	}
	counters, err := d.Counters(ctx)
	if err != nil {
		return nil, err
	}
	m := &Moment{Summary: s, Drops: map[string]float64{}, counters: counters,
		Waiting: counters["waiting"], Connections: counters["connections"], decided: q.After}
	if n := len(s.Decisions); n > 0 {
		m.decided = s.Decisions[n-1].Number
	}
	if before == nil {
		return m, nil
	}
	passed := s.Time.Sub(before.Time).Seconds()
	since := func(name string) float64 {
		now, was := counters[name], before.counters[name]
		if now <= was || passed <= 0 { // or it is another director, whose counters began anew
			return 0
		}
		return float64(now-was) / passed
	}
	m.Received, m.RingDrops = since("port-received"), since("port-ring-drops")
	for name := range counters {
		if n := since(name); n > 0 && strings.HasPrefix(name, "drop-") {
			m.Drops[name] = n
		}
	}
	return m, nil
}

// mostDropped returns the names of the drops, those with most first.
func (m *Moment) mostDropped() []string {
	return slices.SortedFunc(maps.Keys(m.Drops), func(a, b string) int {
		if m.Drops[a] != m.Drops[b] {
			return int(m.Drops[b]*1000) - int(m.Drops[a]*1000)
		}
		return strings.Compare(a, b)
	})
}

// Lines writes a Moment a line, n of them or, if n is 0, until the context ends.
func Lines(ctx context.Context, w io.Writer, d Director, q config.SummaryQuery, every time.Duration, n int) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	var before *Moment
	for i := 0; ; i++ {
		m, err := next(ctx, d, q, before)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := json.NewEncoder(w).Encode(m); err != nil {
			return err
		}
		if before = m; i+1 == n {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

package sched

import (
	"fmt"
	"sync"
	"time"
)

// locality is what lblc and lblcr share: wlc's choice among all servers, a cache,
// and the rule that says when a cached server is overburdened.
type locality struct {
	mu    sync.Mutex
	all   least                    // its own lock is not used
	light map[*RealServer]struct{} // servers of the service with less than half of their weight in active connections
	cache cache
	now   func() time.Duration

	changes changes // for the sets of lblcr
}

func newLocality(name string, o Options) locality {
	return locality{
		all:   least{measure: weightedLeast(name)},
		light: map[*RealServer]struct{}{},
		cache: newCache(o),
		now:   o.Clock,
	}
}

func (l *locality) Name() string { return l.all.name }

// available reports whether s belongs to the service now. An entry may name one
// that was removed and may be added again.
func (l *locality) available(s *RealServer) bool {
	_, in := l.all.list.slots[s]
	return in
}

// overburdened reports whether s has more active connections than its weight while
// some server, eligible or not, has less than half of its own weight (is_overloaded
// in ip_vs_lblc.c; not the overload state of thresholds).
func (l *locality) overburdened(s *RealServer) bool {
	return s.Active() > s.Weight() && len(l.light) > 0
}

// note updates light and changes for a server that may have changed.
func (l *locality) note(s *RealServer) {
	l.changes.note(s)
	if l.available(s) && int64(s.Active())*2 < int64(s.Weight()) {
		l.light[s] = struct{}{}
		return
	}
	delete(l.light, s)
}

func (l *locality) Add(s *RealServer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.add(s)
	l.note(s)
}

func (l *locality) Remove(s *RealServer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.remove(s)
	l.note(s)
}

func (l *locality) Update(s *RealServer) { l.Count(s) }

func (l *locality) Count(s *RealServer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.count(s)
	l.note(s)
}

// burden formats the figures that overburdened compares.
func burden(s *RealServer) string {
	return fmt.Sprintf("active %d, weight %d", s.Active(), s.Weight())
}

// leaveReason says why an address may not keep server s.
func (l *locality) leaveReason(s *RealServer) string {
	switch {
	case !l.available(s):
		return "no longer a server of the service"
	case s.Weight() <= 0:
		return "weight 0"
	case l.overburdened(s):
		return "active above weight while another server has less than half"
	}
	return "overloaded"
}

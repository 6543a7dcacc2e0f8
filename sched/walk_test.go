package sched_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// walk is a scheduler like IPVS's: it walks the server list for each pick. The walks are the
// reference for the trees and tables, and are written to be simple, not fast.
type walk interface {
	pick(f *frame.Flow, list []*sched.RealServer) *sched.RealServer
	// changed tells of a change of the list, or of settings; gone is a server
	// just removed, before its predecessor, or nil.
	changed(list []*sched.RealServer, gone, predecessor *sched.RealServer)
}

func eligible(s *sched.RealServer) bool { return s.Weight() > 0 && !s.Overloaded() }

// first is a walk for the first server that no other is better than.
type first func(s, than *sched.RealServer) bool

func (better first) pick(_ *frame.Flow, list []*sched.RealServer) (best *sched.RealServer) {
	for _, s := range list {
		if eligible(s) && better(s, s) && (best == nil || better(s, best)) {
			best = s
		}
	}
	return best
}

func (first) changed([]*sched.RealServer, *sched.RealServer, *sched.RealServer) {}

// A server that is not better than itself is not a candidate: ovf uses that to leave out one
// above its weight. So the others say "or the same".
func lcWalk(s, than *sched.RealServer) bool { return s == than || s.Overhead() < than.Overhead() }

func wlcWalk(s, than *sched.RealServer) bool {
	return s == than || than.Overhead()*int64(s.Weight()) > s.Overhead()*int64(than.Weight())
}

func sedWalk(s, than *sched.RealServer) bool {
	return s == than || int64(than.Active()+1)*int64(s.Weight()) > int64(s.Active()+1)*int64(than.Weight())
}

func nqWalk(s, than *sched.RealServer) bool {
	return s == than || than.Active() > 0 && (s.Active() == 0 || sedWalk(s, than))
}

func foWalk(s, than *sched.RealServer) bool { return s == than || s.Weight() > than.Weight() }

func ovfWalk(s, than *sched.RealServer) bool { return s.Active() <= s.Weight() && foWalk(s, than) }

type rrWalk struct{ last *sched.RealServer }

func (r *rrWalk) pick(_ *frame.Flow, list []*sched.RealServer) *sched.RealServer {
	from := slices.Index(list, r.last) + 1
	for i := range list {
		if s := list[(from+i)%len(list)]; eligible(s) {
			r.last = s
			return s
		}
	}
	return nil
}

func (r *rrWalk) changed(_ []*sched.RealServer, gone, predecessor *sched.RealServer) {
	if gone != nil && r.last == gone {
		r.last = predecessor
	}
}

// wrrWalk walks rounds with the kernel's marks: cl, cw, mw, di.
type wrrWalk struct {
	cl         *sched.RealServer // nil: the list's head
	cw, mw, di int32
}

func (w *wrrWalk) pick(_ *frame.Flow, list []*sched.RealServer) *sched.RealServer {
	if w.mw == 0 {
		return nil
	}
	begun, again, lastRound := slices.Index(list, w.cl), false, false
	for i := begun + 1; ; i = 0 {
		for ; i < len(list); i++ {
			if s := list[i]; !s.Overloaded() && s.Weight() >= w.cw {
				w.cl = s
				return s
			}
			if again && lastRound && i == begun {
				return nil // the mark stays where it was
			}
		}
		if w.cw -= w.di; w.cw <= 0 {
			w.cw = w.mw
			if lastRound || begun < 0 {
				w.cl = nil
				return nil
			}
			again = true
		}
		lastRound = w.cw <= w.di
	}
}

func (w *wrrWalk) changed(list []*sched.RealServer, _, _ *sched.RealServer) {
	top, unit := int32(0), int32(0)
	for _, s := range list {
		top = max(top, s.Weight())
		for a, b := unit, s.Weight(); ; a, b = b, a%b {
			if b == 0 {
				unit = a
				break
			}
		}
	}
	w.cl, w.di = nil, max(unit, 1)
	w.mw = top - w.di + 1
	switch {
	case w.cw > w.mw || w.cw == 0:
		w.cw = w.mw
	case w.di > 1:
		w.cw = w.cw/w.di*w.di + 1
	}
}

// restart is the kernel's start with servers that were there before.
func (w *wrrWalk) restart(list []*sched.RealServer) {
	w.changed(list, nil, nil)
	w.cw = w.mw
}

type twosWalk struct{ rand *rand.Rand }

func (w *twosWalk) pick(_ *frame.Flow, list []*sched.RealServer) *sched.RealServer {
	total := int64(0)
	for _, s := range list {
		if eligible(s) {
			total += int64(s.Weight())
		}
	}
	if total == 0 {
		return nil
	}
	draw := func() *sched.RealServer {
		rest := int64(w.rand.Uint64N(uint64(total) + 1))
		for _, s := range list {
			if !eligible(s) {
				continue
			}
			if rest -= int64(s.Weight()); rest <= 0 {
				return s
			}
		}
		return nil
	}
	one, two := draw(), draw()
	if wlcWalk(two, one) {
		return two
	}
	return one
}

func (*twosWalk) changed([]*sched.RealServer, *sched.RealServer, *sched.RealServer) {}

// shWalk deals servers over 256 buckets for each pick; dh with one bucket each.
type shWalk struct {
	destination, fallback bool
}

func (w shWalk) pick(f *frame.Flow, list []*sched.RealServer) *sched.RealServer {
	if len(list) == 0 {
		return nil
	}
	var buckets []*sched.RealServer
	for i := 0; len(buckets) < 256; i = (i + 1) % len(list) {
		turns := max(1, int(list[i].Weight()))
		if w.destination {
			turns = 1
		}
		for ; turns > 0 && len(buckets) < 256; turns-- {
			buckets = append(buckets, list[i])
		}
	}
	addr := f.Src().As4()
	if w.destination {
		addr = f.Dst().As4()
	}
	hash := (uint32(addr[0])<<24 | uint32(addr[1])<<16 | uint32(addr[2])<<8 | uint32(addr[3])) * 0x61c88647 >> 24
	if eligible(buckets[hash]) {
		return buckets[hash]
	}
	for i := uint32(0); w.fallback && i < 256; i++ {
		if s := buckets[(hash+(i+hash)%256)%256]; eligible(s) {
			return s
		}
	}
	return nil
}

func (shWalk) changed([]*sched.RealServer, *sched.RealServer, *sched.RealServer) {}

// localWalk is lblc, and with sets lblcr, over tables without bounds: an entry
// idle for the expiration goes at the full sweep of each 30th minute.
type localWalk struct {
	replicate  bool
	expiration time.Duration
	now        time.Duration
	swept      time.Duration
	entries    map[netip.Addr]*localEntry
}

type localEntry struct {
	set              []*sched.RealServer
	lastUse, changed time.Duration
}

func (w *localWalk) pick(f *frame.Flow, list []*sched.RealServer) *sched.RealServer {
	w.sweep()
	e := w.entries[f.Dst()]
	if e == nil {
		s := first(wlcWalk).pick(f, list)
		if s != nil {
			w.entries[f.Dst()] = &localEntry{[]*sched.RealServer{s}, w.now, w.now}
		}
		return s
	}
	e.lastUse = w.now
	s := w.candidate(e, list)
	if w.replicate {
		w.shrink(e)
	}
	if s != nil && !overburdened(s, list) {
		return s
	}
	s = first(wlcWalk).pick(f, list)
	switch {
	case s == nil:
	case !w.replicate:
		e.set[0] = s
	case !slices.Contains(e.set, s):
		e.set, e.changed = slices.Insert(e.set, 0, s), w.now
	}
	return s
}

// candidate returns the server of an entry that is to be judged. lblc does not
// look at its overload state.
func (w *localWalk) candidate(e *localEntry, list []*sched.RealServer) *sched.RealServer {
	var here []*sched.RealServer
	for _, s := range e.set {
		if slices.Contains(list, s) {
			here = append(here, s)
		}
	}
	if w.replicate {
		return first(wlcWalk).pick(nil, here)
	}
	if len(here) > 0 && here[0].Weight() > 0 {
		return here[0]
	}
	return nil
}

func (w *localWalk) shrink(e *localEntry) {
	if len(e.set) < 2 || w.now <= e.changed+w.expiration {
		return
	}
	var most *sched.RealServer
	for _, s := range e.set {
		if s.Weight() > 0 && (most == nil ||
			most.Overhead()*int64(s.Weight()) < s.Overhead()*int64(most.Weight())) {
			most = s
		}
	}
	if i := slices.Index(e.set, most); i >= 0 {
		e.set, e.changed = slices.Delete(e.set, i, i+1), w.now
	}
}

func (w *localWalk) sweep() {
	const every = 30 * time.Minute
	for ; w.swept+every <= w.now; w.swept += every {
		for addr, e := range w.entries {
			if e.lastUse+w.expiration <= w.swept+every {
				delete(w.entries, addr)
			}
		}
	}
}

func (*localWalk) changed([]*sched.RealServer, *sched.RealServer, *sched.RealServer) {}

func overburdened(s *sched.RealServer, list []*sched.RealServer) bool {
	return s.Active() > s.Weight() && slices.ContainsFunc(list, func(o *sched.RealServer) bool {
		return o.Active()*2 < o.Weight()
	})
}

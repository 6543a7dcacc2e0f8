package sched

import (
	"fmt"

	"uvs/forwarder/frame"
)

// wrr is weighted round-robin (ip_vs_wrr.c): rounds over the list, each with a
// required weight. The first round requires the highest weight, each following one a
// step less, where the step is the greatest common divisor of all weights, and the
// last one requires 1. So weights 4, 3, 2 give A AB ABC ABC: over a whole cycle each
// server is chosen weight/step times, and the picks of heavy servers are spread out.
//
// A change of the list or of a setting begins a new round at the current required
// weight, brought into the new bounds.
type wrr struct {
	round
	required int32 // cw
	top      int32 // mw: required weight of the first round, highest weight - step + 1
	step     int32 // di
}

func newWRR() *wrr { return &wrr{step: 1} }

func (w *wrr) Name() string { return "wrr" }

func (w *wrr) Pick(_ *frame.Flow, rec *Record) *RealServer {
	w.mu.Lock()
	defer w.mu.Unlock()
	from, before := w.cur, w.required
	s := w.next()
	if rec != nil {
		w.record(rec, from, before, s)
	}
	return s
}

func (w *wrr) next() *RealServer {
	if w.top == 0 {
		return nil
	}
	best := w.tree.root().eligible
	if best == 0 {
		w.fail()
		return nil
	}
	slot := w.after(w.cur, w.required)
	if slot < 0 {
		w.lower(best)
		slot = w.after(w.list.head(), w.required)
	}
	w.cur = slot
	return w.list.at[slot]
}

// lower sets the required weight of the round in which the next server is found: one
// step down, or more, because rounds that would find no server are skipped. best is
// the highest eligible weight.
func (w *wrr) lower(best int32) {
	w.required -= w.step
	if w.required <= 0 {
		w.required = w.top
	}
	if over := w.required - best; over > 0 {
		w.required -= (over + w.step - 1) / w.step * w.step
	}
	w.required = max(w.required, 1)
}

// fail sets cursor and required weight to where the kernel's fruitless walk over
// overloaded servers ends: the kernel tries the round that requires 1 once for every
// server, from the cursor or, if it is in a round above that, from the head.
func (w *wrr) fail() {
	if w.cur >= len(w.list.at) || w.required > w.step {
		w.cur, w.required = w.list.head(), w.top
		return
	}
	w.required = 1
}

// changed does what the kernel does when a server is added, removed or edited.
func (w *wrr) changed() {
	all := w.tree.root()
	w.cur = w.list.head()
	w.step = max(all.gcd, 1)
	w.top = all.max - (w.step - 1)
	if w.required > w.top || w.required == 0 {
		w.required = w.top
	} else if w.step > 1 {
		w.required = w.required/w.step*w.step + 1
	}
}

func (w *wrr) record(rec *Record, from int, before int32, chosen *RealServer) {
	rec.Beginf("wrr", "next server after %s with weight ≥ %d, then from the head with %d less",
		w.list.placeName(from), before, w.step)
	if chosen != nil && w.required != before {
		rec.Rule += fmt.Sprintf("; found with weight ≥ %d", w.required)
	}
	w.list.eachAfter(from, func(_ int, s *RealServer) bool {
		rec.Add(s, fmt.Sprintf("weight %d", s.Weight()))
		return true
	})
	rec.Choose(chosen)
}

func (w *wrr) Add(s *RealServer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.add(s) {
		w.changed()
	}
}

// AddAll adds servers that the service had before it had this scheduler, and begins
// with the highest weight.
func (w *wrr) AddAll(servers []*RealServer) {
	for _, s := range servers {
		w.Add(s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.required = w.top
}

func (w *wrr) Remove(s *RealServer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.remove(s) {
		w.changed()
	}
}

func (w *wrr) Update(s *RealServer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refresh(s) {
		w.changed()
	}
}

func (w *wrr) Count(s *RealServer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slot, ok := w.list.slots[s]; ok {
		w.tree.set(slot, w.leaf(slot))
	}
}

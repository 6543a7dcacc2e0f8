package sched

import "uvs/forwarder/frame"

// rr is round-robin: the next eligible server after the one chosen last
// (ip_vs_rr.c). A new server goes to the front of the list, so it waits for the next
// round, unless none was chosen yet.
type rr struct{ round }

func newRR() *rr { return &rr{} }

func (r *rr) Name() string { return "rr" }

func (r *rr) Pick(_ *frame.Flow, rec *Record) *RealServer {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := r.cur
	slot := r.after(from, 1)
	if slot < 0 {
		slot = r.after(r.list.head(), 1)
	}
	var s *RealServer
	if slot >= 0 {
		s, r.cur = r.list.at[slot], slot
	}
	if rec != nil {
		rec.Beginf("rr", "next eligible server after %s", r.list.placeName(from))
		r.list.eachAfter(from, func(_ int, s *RealServer) bool {
			rec.Add(s, "")
			return true
		})
		rec.Choose(s)
	}
	return s
}

func (r *rr) Add(s *RealServer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(s)
}

func (r *rr) Remove(s *RealServer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(s)
}

func (r *rr) Update(s *RealServer) { r.Count(s) }

func (r *rr) Count(s *RealServer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refresh(s)
}

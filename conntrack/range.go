package conntrack

import "sync/atomic"

// Range calls f for every connection and template in the table until f returns
// false. What is inserted or removed meanwhile may be seen or not. Workers go
// on: Range takes no lock, and lets go of what it has seen every now and then.
// The Reader must not be in a batch; f must not keep the pointer.
func (r *Reader) Range(f func(*Conn) bool) {
	t := r.t
	for from := uint32(1); from <= t.slots.used.Load(); from += blockEntries {
		if !r.rangeBlock(from, min(from+blockEntries, uint32(len(t.due))), f) {
			return
		}
	}
}

func (r *Reader) rangeBlock(from, to uint32, f func(*Conn) bool) bool {
	r.Enter()
	defer r.Exit()
	for slot := from; slot < to; slot++ {
		if due := atomic.LoadUint32(&r.t.due[slot]); due == 0 || due >= deadlineSpent {
			continue
		}
		if c := &r.t.conns[slot]; !c.Gone() && !f(c) {
			return false
		}
	}
	return true
}

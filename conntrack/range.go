package conntrack

import "sync/atomic"

// Range calls f for every connection and template in the table until f returns
// false. What is inserted or removed meanwhile may be seen or not. Workers go
// on: Range takes no lock, and lets go of what it has seen every now and then.
// The Reader must not be in a batch; f must not keep the pointer.
func (r *Reader) Range(f func(*Conn) bool) {
	on := true
	for next := Ref(1); next != 0 && on; {
		next = r.Walk(next, func(c *Conn) bool {
			on = f(c)
			return on
		})
	}
}

// Walk is a piece of Range, for callers who cannot do it all at once: some
// hundred connections beginning with slot from, which is 1 for the first piece.
// It returns where the next piece begins: 0 if this was the last, and the
// connection itself at which f returned false.
func (r *Reader) Walk(from Ref, f func(*Conn) bool) (next Ref) {
	t := r.t
	used := Ref(t.slots.used.Load())
	to := min(from+blockEntries, used+1)
	r.Enter()
	defer r.Exit()
	for slot := from; slot < to; slot++ {
		if due := atomic.LoadUint32(&t.due[slot]); due == 0 || due >= deadlineSpent {
			continue
		}
		if c := &t.conns[slot]; !c.Gone() && !f(c) {
			return slot
		}
	}
	if to > used {
		return 0
	}
	return to
}

package conntrack

import "sync/atomic"

// Range calls f for every connection and template in the table until f returns
// false. It may or may not see what is inserted or removed meanwhile. It does not
// stop the workers: it takes no lock and leaves its epoch every few entries. The
// Reader must not be in a batch; f must not keep the pointer.
func (r *Reader) Range(f func(*Conn) bool) {
	on := true
	for next := Ref(1); next != 0 && on; {
		next = r.Walk(next, func(c *Conn) bool {
			on = f(c)
			return on
		})
	}
}

// Walk is one step of Range, for callers that cannot do it all at once: the
// connections of up to 64 slots beginning with from, which is 1 for the first
// step. It returns where the next step begins: 0 after the last one, or the
// connection for which f returned false.
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

package conntrack

import (
	"sync/atomic"
	"time"
)

// sweeper is the block at which Sweep continues.
type sweeper struct{ block int }

// Sweep expires the connections whose timeout has passed at tick now, and frees
// the slots of those that have left the table. It looks at no more than budget
// blocks and due connections together, a microsecond or less each, and reports
// whether the table is done for this tick. If it is not, call Sweep again soon,
// after the waiting packets. A block is finished once begun: up to 64 connections
// beyond the budget. No lock is held for longer than one connection takes.
//
// One goroutine sweeps. An idle table costs some ten nanoseconds per thousand
// connections: each block has one word that says when it needs a look.
func (t *Table) Sweep(now Tick, budget int) (done bool) {
	t.reclaim()
	s := &t.sweep
	for blocks := int(t.slots.used.Load())/blockEntries + 1; s.block < blocks; s.block++ {
		if budget <= 0 {
			return false
		}
		budget--
		if atomic.LoadUint32(&t.soon[s.block]) <= uint32(now) {
			budget -= t.sweepBlock(s.block, now)
		}
	}
	s.block = 0
	t.reclaim()
	return true
}

// sweepBlock looks at the connections of one block and returns how many were
// due. It raises the block's word before and lowers it after, so that a deadline
// set meanwhile is not lost.
func (t *Table) sweepBlock(block int, now Tick) (handled int) {
	atomic.StoreUint32(&t.soon[block], deadlineSpent)
	from := block * blockEntries
	to := min(from+blockEntries, len(t.due))
	least := uint32(deadlineSpent)
	for slot := from; slot < to; slot++ {
		due := atomic.LoadUint32(&t.due[slot])
		if due <= uint32(now) && due != 0 {
			handled++
			due = t.expire(Ref(slot), due, now)
		}
		if due != 0 {
			least = min(least, due)
		}
	}
	atomicMin(&t.soon[block], least)
	return handled
}

// expire ends a connection whose deadline due has come, unless packets came since
// or others depend on it. It returns the deadline afterwards. It must not
// overwrite one that another goroutine has changed: the connection may have been
// removed meanwhile.
func (t *Table) expire(slot Ref, due uint32, now Tick) uint32 {
	c := &t.conns[slot]
	if end := c.Seen() + c.Timeout(); end > now {
		atomic.CompareAndSwapUint32(&t.due[slot], due, deadline(end))
	} else if !t.remove(slot, now) && c.Controls() > 0 {
		atomic.CompareAndSwapUint32(&t.due[slot], due, deadline(now+rearmTimeout))
	}
	return atomic.LoadUint32(&t.due[slot])
}

// deadline returns the tick at which a connection that lasts until end is due:
// end itself. One tick later, a listing right after the timeout would show a
// connection that a kernel has removed by then.
func deadline(end Tick) uint32 { return uint32(min(max(end, 1), maxTick)) }

// arm sets the first deadline of a connection that lasts until end.
func (t *Table) arm(slot uint32, end Tick) {
	due := deadline(end)
	atomic.StoreUint32(&t.due[slot], due)
	atomicMin(&t.soon[slot/blockEntries], due)
}

// shorten makes Sweep look at a live connection right after end, if it would
// have looked later. Only Sweep itself puts deadlines off, when it finds that
// packets came.
func (t *Table) shorten(slot Ref, end Tick) {
	p, at := &t.due[slot], deadline(end)
	for {
		due := atomic.LoadUint32(p)
		if due <= at || due >= deadlineSpent {
			return
		}
		if atomic.CompareAndSwapUint32(p, due, at) {
			atomicMin(&t.soon[slot/blockEntries], at)
			return
		}
	}
}

// rearm gives a connection a timeout of d from now.
func (t *Table) rearm(slot Ref, now Tick, d Tick) {
	c := &t.conns[slot]
	atomic.StoreUint32(&c.timeout, uint32(d))
	atomic.StoreUint32(&c.seen, uint32(now))
	t.shorten(slot, now+d)
}

// Linger shortens a connection's timeout to at most d from now and marks it
// Closing. It reports false, and changes nothing, if it is marked already.
func (r *Reader) Linger(c *Conn, now, d Tick) bool {
	const bit = uint32(Closing) << flagShift
	if atomic.OrUint32(&c.status, bit)&bit != 0 {
		return false
	}
	r.t.rearm(r.t.Ref(c), now, min(d, c.Timeout()))
	return true
}

// atomicMin sets *p to v if v is less.
func atomicMin(p *uint32, v uint32) {
	for {
		old := atomic.LoadUint32(p)
		if old <= v || atomic.CompareAndSwapUint32(p, old, v) {
			return
		}
	}
}

// Expires returns how long the connection lives from now if no packet comes. It
// is a little less than the whole ticks left, since the tick of the last packet
// began before the packet: a timeout of 15 minutes shows as 14:59 at once, as in
// IPVS.
func (c *Conn) Expires(now Tick) time.Duration {
	end := int64(c.Seen()) + int64(c.Timeout())
	left := time.Duration(end-int64(now))*(time.Second/TicksPerSecond) - time.Millisecond
	return max(0, left)
}

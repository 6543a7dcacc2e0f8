package conntrack

import (
	"sync/atomic"
	"time"
)

// sweeper is where Sweep has got to.
type sweeper struct{ block int }

// Sweep expires connections whose time is over at tick now, and frees the slots
// of those that have gone. It looks at no more than budget blocks and due
// connections together, a microsecond or less each, and reports whether the
// table is done for this tick; if not, call it again soon, after the packets that
// wait. A block is finished once begun: up to 64 connections beyond the budget.
// No lock is held for longer than one connection takes.
//
// One goroutine sweeps. A quiet table costs some ten nanoseconds per thousand
// connections: each block of them has one word that says when it needs a look.
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
// due. The block's word is raised before and lowered after, so that a deadline
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
	lower(&t.soon[block], least)
	return handled
}

// expire ends a connection whose deadline due has come, unless packets came
// since or others depend on it. It returns the deadline as it is then. It must
// not overwrite one that another goroutine has changed: the connection may have
// been taken out meanwhile.
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
// the same. A tick later would be too late for who looks right after a timeout
// and finds what a kernel has removed by then.
func deadline(end Tick) uint32 { return uint32(min(max(end, 1), maxTick)) }

// arm sets the first deadline of a connection that lasts until end.
func (t *Table) arm(slot uint32, end Tick) {
	due := deadline(end)
	atomic.StoreUint32(&t.due[slot], due)
	lower(&t.soon[slot/blockEntries], due)
}

// hasten makes Sweep look at a live connection right after end, if it would
// have looked later. Deadlines are never put off but by Sweep itself, when it
// finds that packets came.
func (t *Table) hasten(slot Ref, end Tick) {
	p, at := &t.due[slot], deadline(end)
	for {
		due := atomic.LoadUint32(p)
		if due <= at || due >= deadlineSpent {
			return
		}
		if atomic.CompareAndSwapUint32(p, due, at) {
			lower(&t.soon[slot/blockEntries], at)
			return
		}
	}
}

// rearm gives a connection a new life of d from now.
func (t *Table) rearm(slot Ref, now Tick, d Tick) {
	c := &t.conns[slot]
	atomic.StoreUint32(&c.timeout, uint32(d))
	atomic.StoreUint32(&c.seen, uint32(now))
	t.hasten(slot, now+d)
}

// Linger leaves a connection no more than d to live from now and marks it
// Closing. It reports false, and changes nothing, if it is marked already.
func (r *Reader) Linger(c *Conn, now, d Tick) bool {
	const bit = uint32(Closing) << flagShift
	if atomic.OrUint32(&c.life, bit)&bit != 0 {
		return false
	}
	r.t.rearm(r.t.Ref(c), now, min(d, c.Timeout()))
	return true
}

// lower sets *p to v if v is less.
func lower(p *uint32, v uint32) {
	for {
		old := atomic.LoadUint32(p)
		if old <= v || atomic.CompareAndSwapUint32(p, old, v) {
			return
		}
	}
}

// Expires returns how long the connection lives from now if no packet comes. It
// is a little less than the whole ticks left, since the tick of the last packet
// had begun before it: what has just got 15 minutes shows 14:59, as in IPVS.
func (c *Conn) Expires(now Tick) time.Duration {
	end := int64(c.Seen()) + int64(c.Timeout())
	left := time.Duration(end-int64(now))*(time.Second/TicksPerSecond) - time.Millisecond
	return max(0, left)
}

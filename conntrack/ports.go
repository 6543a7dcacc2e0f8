package conntrack

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// PortKey names one pool of local ports: connections with the same local
// address, protocol and real server must have different local ports, all others
// may share them.
type PortKey struct {
	Local      [16]byte
	Server     [16]byte
	ServerPort uint16
	Proto      uint8
}

// PortKeyOf returns the pool from which a FULLNAT connection has its port.
func PortKeyOf(c *Conn) PortKey {
	return PortKey{Local: c.Local, Server: c.Real, ServerPort: c.RealPort, Proto: c.Proto()}
}

// Ports gives out the local ports of FULLNAT connections. Every port of the
// range is given before a pool is exhausted; a port given back comes again as
// late as possible, so that the real server has forgotten it. When none is left,
// the port of the connection that has been over for the longest time is given to
// another with Reuse. A pool costs 8 KiB while any of its ports is taken, up to 8
// bytes more for each port that was vacated, and nothing otherwise.
//
// All methods are safe for concurrent use.
type Ports struct {
	table     *Table
	low, high uint16
	fresh     portPool // with nothing taken: what pools begin as

	mu     sync.Mutex
	pools  map[PortKey]*portPool
	reused uint64
}

// NewPorts returns the ports from low to high, both included, for connections of
// a table. FULLNAT elsewhere uses 5000 to 65535.
func NewPorts(t *Table, low, high uint16) (*Ports, error) {
	if low == 0 || low > high {
		return nil, fmt.Errorf("conntrack: local ports %d-%d: empty range", low, high)
	}
	p := &Ports{table: t, low: low, high: high, pools: make(map[PortKey]*portPool)}
	for port := 0; port < 1<<16; port++ {
		if port < int(low) || port > int(high) {
			p.fresh.mark(uint16(port))
		}
	}
	p.fresh.taken = 0
	return p, nil
}

// Take returns a free port of the pool, and false if all are taken. The server
// may remember past.
func (p *Ports) Take(k PortKey) (port uint16, past Past, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pool(k)
	if pool.taken == p.Size() {
		return 0, past, false
	}
	port = pool.take()
	if pool.pasts != nil {
		at := &pool.pasts[port-p.low]
		past, *at = *at, Past{}
	}
	return port, past, true
}

// Vacate has the port of a connection, which is about to be removed although its
// server may remember it, freed with a note of that.
func (p *Ports) Vacate(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool, e := p.pools[PortKeyOf(c)], p.table.ending(c)
	switch {
	case pool == nil || e.place == portGiven || c.Gone():
		return
	case e.place == portListed:
		p.unlist(pool, c)
	}
	e.place = portVacated
}

// Reuse returns the port of the connection that has been over for the longest
// time, which it removes, and what the server may remember of it; it reports
// false if none is over. r must have entered.
func (p *Ports) Reuse(r *Reader, k PortKey, now Tick) (port uint16, past Past, ok bool) {
	c := p.oldest(k)
	if c == nil {
		return 0, Past{}, false
	}
	port, past = c.LocalPort, p.table.past(c)
	r.Remove(c, now) // unless another has begun to: the port is ours all the same
	return port, past, true
}

// oldest takes the first connection off the pool's list. Its port is the
// caller's from now on.
func (p *Ports) oldest(k PortKey) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pools[k]
	if pool == nil || pool.first == 0 {
		return nil
	}
	c := p.table.At(pool.first)
	p.unlist(pool, c)
	p.table.ending(c).place = portGiven
	p.reused++
	return c
}

// Release gives back the port of a connection that has left the table or never
// was in it, unless another has it already.
func (p *Ports) Release(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pools[PortKeyOf(c)]
	if pool == nil || c.LocalPort < p.low || c.LocalPort > p.high || !pool.used(c.LocalPort) {
		return
	}
	if c.ends() && p.table.holds(c) {
		switch e := p.table.ending(c); e.place {
		case portGiven:
			e.place = portHeld
			return
		case portListed:
			p.unlist(pool, c)
		case portVacated:
			pool.keep(c.LocalPort-p.low, p.table.past(c), p.Size())
			pool.unmark(c.LocalPort)
			return // the pool stays for the note's sake
		}
	}
	pool.unmark(c.LocalPort)
	if pool.taken == 0 {
		delete(p.pools, PortKeyOf(c))
	}
}

// Size returns how many ports a pool has.
func (p *Ports) Size() int { return int(p.high) - int(p.low) + 1 }

// Count adds to a table of counters how many ports are taken in all pools by
// connections that go on and by those that are over, and how many were given from
// one to another.
func (p *Ports) Count(to map[string]uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	live, over := 0, 0
	for _, pool := range p.pools {
		live, over = live+pool.taken-pool.over, over+pool.over
	}
	to["local-ports-live"], to["local-ports-time-wait"] = uint64(live), uint64(over)
	to["local-ports-reused"] = p.reused
}

// InUse returns the local addresses that have a port taken.
func (p *Ports) InUse() map[[16]byte]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[[16]byte]bool{}
	for k, pool := range p.pools {
		if pool.taken > 0 {
			all[k.Local] = true
		}
	}
	return all
}

// list puts a connection that is over on the list of those whose port another may
// have: at its end, or at once.
func (p *Ports) list(c *Conn, e *ending, front bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pools[PortKeyOf(c)]
	if pool == nil || e.place != portHeld || c.Gone() {
		return
	}
	e.place = portListed
	ref := p.table.Ref(c)
	after, before := pool.last, Ref(0)
	if front {
		after, before = 0, pool.first
	}
	e.prev, e.next = after, before
	*p.nextOf(pool, after), *p.prevOf(pool, before) = ref, ref
	pool.over++
}

// revive takes a connection that was over off the list, because its client begins
// anew, and reports whether it was.
func (p *Ports) revive(c *Conn, e *ending) bool {
	if !e.has(bothHeard) && !e.has(wasReset) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.place != portListed {
		return false
	}
	p.unlist(p.pools[PortKeyOf(c)], c)
	atomic.AndUint32(&e.marks, unstamped)
	return true
}

// unlist takes a connection off the pool's list.
func (p *Ports) unlist(pool *portPool, c *Conn) {
	e := p.table.ending(c)
	*p.nextOf(pool, e.prev), *p.prevOf(pool, e.next) = e.next, e.prev
	e.prev, e.next, e.place = 0, 0, portHeld
	pool.over--
}

// nextOf and prevOf return the links of a connection in the list, those of 0
// being the list's ends.
func (p *Ports) nextOf(pool *portPool, r Ref) *Ref {
	if r == 0 {
		return &pool.first
	}
	return &p.table.endings[r].next
}

func (p *Ports) prevOf(pool *portPool, r Ref) *Ref {
	if r == 0 {
		return &pool.last
	}
	return &p.table.endings[r].prev
}

// pool returns the pool of k, a new one with a random place to begin if need be.
func (p *Ports) pool(k PortKey) *portPool {
	pool := p.pools[k]
	if pool == nil {
		pool = new(portPool)
		*pool = p.fresh
		pool.next = p.low + uint16(rand.IntN(p.Size()))
		p.pools[k] = pool
	}
	return pool
}

// portPool is a set of ports: one bit each, and one bit for each word of them
// that is full, so that a free port is found in some 17 steps at most however
// few are left.
type portPool struct {
	word  [1024]uint64 // bit set: taken, or outside the range
	full  [16]uint64   // bit set: the word has no free port
	next  uint16       // where to look first: behind the last port given
	taken int

	first, last Ref // connections that are over, the oldest first
	over        int
	pasts       []Past // of free ports, from the lowest on; nil: none
}

// keep notes what the server may remember of the n-th of size ports.
func (p *portPool) keep(n uint16, past Past, size int) {
	if p.pasts == nil {
		p.pasts = make([]Past, size)
	}
	p.pasts[n] = past
}

func (p *portPool) used(port uint16) bool { return p.word[port>>6]&(1<<(port&63)) != 0 }

func (p *portPool) mark(port uint16) {
	w := port >> 6
	p.word[w] |= 1 << (port & 63)
	if p.word[w] == ^uint64(0) {
		p.full[w>>6] |= 1 << (w & 63)
	}
	p.taken++
}

func (p *portPool) unmark(port uint16) {
	w := port >> 6
	p.word[w] &^= 1 << (port & 63)
	p.full[w>>6] &^= 1 << (w & 63)
	p.taken--
}

// take marks and returns the next free port in a circle. There must be one.
func (p *portPool) take() uint16 {
	w := p.next >> 6
	if free := ^p.word[w] &^ (1<<(p.next&63) - 1); free != 0 {
		return p.give(w, free)
	}
	w = p.open(w + 1)
	return p.give(w, ^p.word[w])
}

// open returns the first word from w on, in a circle, that has a free port.
func (p *portPool) open(w uint16) uint16 {
	w &= uint16(len(p.word) - 1)
	group := w >> 6
	open := ^p.full[group] &^ (1<<(w&63) - 1)
	for open == 0 {
		group = (group + 1) & uint16(len(p.full)-1)
		open = ^p.full[group]
	}
	return group<<6 | uint16(bits.TrailingZeros64(open))
}

func (p *portPool) give(w uint16, free uint64) uint16 {
	port := w<<6 | uint16(bits.TrailingZeros64(free))
	p.mark(port)
	p.next = port + 1
	return port
}

package conntrack

import (
	"fmt"
	"hash/maphash"
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

// PortKeyOf returns the pool of a FULLNAT connection's local port.
func PortKeyOf(c *Conn) PortKey {
	return PortKey{Local: c.Local, Server: c.Real, ServerPort: c.RealPort, Proto: c.Proto()}
}

// Ports allocates the local ports of FULLNAT connections. A pool is exhausted only
// when every port of the range is in use; a released port is allocated again as
// late as possible, so that the real server has forgotten it. When none is free,
// Reuse gives the port of the connection that has been over for longest to
// another. A pool costs some 250 bytes while any of its ports is in use, 8 KiB more once
// many are, and some 20 bytes for each port that was vacated. Without a port in use it
// costs nothing, except for a few that hold notes about vacated ports.
//
// All methods are safe for concurrent use.
type Ports struct {
	table     *Table
	low, high uint16
	outside   portBits // ports that are not in the range

	mu     sync.Mutex
	pools  map[PortKey]*portPool
	idle   int // pools without a port in use
	reused uint64
	seed   maphash.Seed // of where pools begin
	made   uint64       // pools so far

	from   *Ports // what this is a copy of; nil: of none
	reader *Reader
}

// NewPorts returns the ports from low to high, both included, for connections of
// a table. Other implementations of FULLNAT use 5000 to 65535.
func NewPorts(t *Table, low, high uint16) (*Ports, error) {
	if low == 0 || low > high {
		return nil, fmt.Errorf("conntrack: local ports %d-%d: empty range", low, high)
	}
	p := &Ports{table: t, low: low, high: high, pools: make(map[PortKey]*portPool), seed: maphash.MakeSeed()}
	for port := 0; port < 1<<16; port++ {
		if port < int(low) || port > int(high) {
			p.outside.mark(uint16(port))
		}
	}
	return p, nil
}

// Allocate returns a free port of the pool and what the server may remember of the
// port's previous connection. It reports false if no port is free.
func (p *Ports) Allocate(k PortKey) (port uint16, past TimeWait, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pool(k)
	if pool.taken == p.Size() {
		return 0, past, false
	}
	p.wake(pool)
	port = pool.allocate()
	pool.own = true
	past = pool.timeWaits[port]
	delete(pool.timeWaits, port)
	return port, past, true
}

// Vacate makes Release keep a note with the port of a connection that is about to
// be removed although its server may remember it.
func (p *Ports) Vacate(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool, e := p.known(PortKeyOf(c)), p.table.ending(c)
	switch {
	case pool == nil || e.portState == portGiven || c.Gone():
		return
	case e.portState == portListed:
		p.unlist(pool, c)
	}
	e.portState = portVacated
}

// Reuse removes the connection that has been over for longest. It returns that
// connection's port and what the server may remember of it, or false if none is
// over. r must have entered.
func (p *Ports) Reuse(r *Reader, k PortKey, now Tick) (port uint16, past TimeWait, ok bool) {
	c := p.oldest(k)
	if c == nil {
		return 0, TimeWait{}, false
	}
	port, past = c.LocalPort, p.table.timeWait(c)
	r.Remove(c, now) // if another goroutine does so first, the port is ours all the same
	return port, past, true
}

// oldest takes the first connection off the pool's list. Its port then belongs to
// the caller.
func (p *Ports) oldest(k PortKey) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.known(k)
	if pool == nil || pool.first == 0 {
		return nil
	}
	c := p.table.At(pool.first)
	p.unlist(pool, c)
	p.table.ending(c).portState = portGiven
	p.reused++
	pool.own = true
	return c
}

// Release frees the port of a connection that has left the table or never was in
// it, unless another connection has the port already.
func (p *Ports) Release(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.known(PortKeyOf(c))
	if pool == nil || c.LocalPort < p.low || c.LocalPort > p.high || !pool.used(c.LocalPort) {
		return
	}
	if c.hasEnding() && p.table.contains(c) {
		switch e := p.table.ending(c); e.portState {
		case portGiven:
			e.portState = portHeld
			return
		case portListed:
			p.unlist(pool, c)
		case portVacated:
			pool.keepTimeWait(c.LocalPort, p.table.timeWait(c))
			pool.unmark(c.LocalPort)
			p.rest(pool, PortKeyOf(c))
			return
		}
	}
	pool.unmark(c.LocalPort)
	if pool.taken == 0 {
		delete(p.pools, PortKeyOf(c))
	}
}

// idlePools is how many pools without a port in use are kept for the notes in them. The
// note of one beyond is lost: should its server remember the connection, the client's
// first SYN to it is refused.
const idlePools = 4096

// rest keeps a pool for its notes that may be without a port in use, if there is room.
func (p *Ports) rest(pool *portPool, k PortKey) {
	switch {
	case pool.taken > 0:
	case p.idle == idlePools:
		delete(p.pools, k)
	default:
		pool.idle = true
		p.idle++
	}
}

// wake ends rest.
func (p *Ports) wake(pool *portPool) {
	if pool.idle {
		pool.idle = false
		p.idle--
	}
}

// Size returns how many ports a pool has.
func (p *Ports) Size() int { return int(p.high) - int(p.low) + 1 }

// Count sets the counters of local ports: how many in all pools belong to live
// connections and to those that are over, and how many were reused.
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

// PoolUse is how much of a pool is in use.
type PoolUse struct {
	PortKey
	Live, Over int // ports of connections that go on, and of those that are over
}

// Fullest returns of the pools of each local address the one with the most live connections.
func (p *Ports) Fullest() map[[16]byte]PoolUse {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[[16]byte]PoolUse{}
	for k, pool := range p.pools {
		live := pool.taken - pool.over
		if pool.taken > 0 && (all[k.Local].PortKey == PortKey{} || live > all[k.Local].Live) {
			all[k.Local] = PoolUse{PortKey: k, Live: live, Over: pool.over}
		}
	}
	return all
}

// InUse returns the local addresses that have a port in use, and whether this director
// gave one out itself: if not, it has only heard of them from another.
func (p *Ports) InUse() map[[16]byte]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[[16]byte]bool{}
	for k, pool := range p.pools {
		if pool.taken > 0 {
			all[k.Local] = all[k.Local] || pool.own
		}
	}
	return all
}

// list puts a connection that is over on the list of those whose port another may
// have: at the end, or at the front.
func (p *Ports) list(c *Conn, e *ending, front bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.known(PortKeyOf(c))
	if pool == nil || e.portState != portHeld || c.Gone() {
		return
	}
	if front {
		p.insert(pool, c, e, 0, pool.first)
	} else {
		p.insert(pool, c, e, pool.last, 0)
	}
}

// insert puts a connection between two of the pool's list.
func (p *Ports) insert(pool *portPool, c *Conn, e *ending, after, before Ref) {
	ref := p.table.Ref(c)
	e.portState, e.prev, e.next = portListed, after, before
	*p.nextOf(pool, after), *p.prevOf(pool, before) = ref, ref
	pool.over++
}

// revive takes a connection off the list because its client opens it again, and
// reports whether it was on the list.
func (p *Ports) revive(c *Conn, e *ending) bool {
	if !e.has(bothAcked) && !e.has(rstAccepted) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.portState != portListed {
		return false
	}
	p.unlist(p.known(PortKeyOf(c)), c)
	atomic.AndUint32(&e.marks, noTimestamps)
	return true
}

// unlist takes a connection off the pool's list.
func (p *Ports) unlist(pool *portPool, c *Conn) {
	e := p.table.ending(c)
	*p.nextOf(pool, e.prev), *p.prevOf(pool, e.next) = e.next, e.prev
	e.prev, e.next, e.portState = 0, 0, portHeld
	pool.over--
}

// nextOf and prevOf return the links of a connection in the list; those of 0 are
// the list's ends.
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

// pool returns the pool of k. A new one begins at a random port.
func (p *Ports) pool(k PortKey) *portPool {
	pool := p.known(k)
	if pool == nil {
		pool = &portPool{all: p, next: p.firstOf(k)}
		p.pools[k] = pool
	}
	return pool
}

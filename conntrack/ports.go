package conntrack

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
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
// late as possible, so that the real server has forgotten it. A pool costs 8
// KiB while any of its ports is taken, and nothing otherwise.
//
// All methods are safe for concurrent use.
type Ports struct {
	low, high uint16
	fresh     portPool // with nothing taken: what pools begin as

	mu        sync.Mutex
	pools     map[PortKey]*portPool
	exhausted uint64
}

// NewPorts returns the ports from low to high, both included. FULLNAT elsewhere
// uses 5000 to 65535.
func NewPorts(low, high uint16) (*Ports, error) {
	if low == 0 || low > high {
		return nil, fmt.Errorf("conntrack: local ports %d-%d: empty range", low, high)
	}
	p := &Ports{low: low, high: high, pools: make(map[PortKey]*portPool)}
	for port := 0; port < 1<<16; port++ {
		if port < int(low) || port > int(high) {
			p.fresh.mark(uint16(port))
		}
	}
	p.fresh.taken = 0
	return p, nil
}

// Take returns a free port of the pool, and false if all are taken.
func (p *Ports) Take(k PortKey) (port uint16, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pool(k)
	if pool.taken == p.Size() {
		p.exhausted++
		return 0, false
	}
	return pool.take(), true
}

// Claim takes one certain port, for a connection that has it already, and
// reports false if it is taken or outside the range.
func (p *Ports) Claim(k PortKey, port uint16) bool {
	if port < p.low || port > p.high {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pool(k)
	if pool.used(port) {
		return false
	}
	pool.mark(port)
	return true
}

// Release gives a port back. A port that is not taken stays so.
func (p *Ports) Release(k PortKey, port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pools[k]
	if pool == nil || port < p.low || port > p.high || !pool.used(port) {
		return
	}
	pool.unmark(port)
	if pool.taken == 0 {
		delete(p.pools, k)
	}
}

// Size returns how many ports a pool has.
func (p *Ports) Size() int { return int(p.high) - int(p.low) + 1 }

// Taken returns how many ports of a pool are taken.
func (p *Ports) Taken(k PortKey) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pool := p.pools[k]; pool != nil {
		return pool.taken
	}
	return 0
}

// InUse returns the local addresses that have a port taken.
func (p *Ports) InUse() map[[16]byte]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := map[[16]byte]bool{}
	for k := range p.pools {
		all[k.Local] = true
	}
	return all
}

// Exhausted returns how often Take found every port taken.
func (p *Ports) Exhausted() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exhausted
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

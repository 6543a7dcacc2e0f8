package sched

import (
	"math/bits"
	"sync"

	"uvs/forwarder/frame"
)

// load is the figure by which servers are compared, a fraction: connections divided
// by weight. The zero value and any other with per 0 are infinite. Comparing by
// cross-multiplication, as the kernel does, needs no division and is exact; the
// products have up to 71 bits.
type load struct{ conns, per uint64 }

// less reports whether l is strictly less than m.
func (l load) less(m load) bool {
	if l.per == 0 || m.per == 0 {
		return l.per != 0
	}
	hi, lo := bits.Mul64(l.conns, m.per)
	hi2, lo2 := bits.Mul64(m.conns, l.per)
	return hi < hi2 || hi == hi2 && lo < lo2
}

// contender is a server in the tournament of least.
type contender struct {
	load load
	slot int32
}

// merge returns the winner of two; on a tie it is the first in IPVS's order.
func (c contender) merge(after contender) contender {
	if after.load.less(c.load) {
		return after
	}
	return c
}

// measure is what distinguishes the schedulers of the least-loaded kind.
type measure struct {
	name, rule string
	// load returns the load of an eligible server; infinite excludes it.
	load func(*RealServer) load
	// figure formats load with its arithmetic; skip is the reason for an infinite
	// one.
	figure func(*RealServer) string
	skip   string
}

// least picks the server with the least load, on a tie the first in IPVS's
// order: lc, wlc, sed, nq, fo, ovf, and within lblc and lblcr. The root of the
// tournament tree is the winner, so a pick takes constant time and a changed count
// the logarithm of the number of servers.
type least struct {
	measure
	mu   sync.Mutex
	list list
	tree tree[contender]
}

func newLeast(m measure) *least { return &least{measure: m} }

func (l *least) Name() string { return l.name }

func (l *least) Pick(_ *frame.Flow, rec *Record) *RealServer {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.first()
	if rec != nil {
		rec.Begin(l.name, l.rule)
		l.record(rec, s)
	}
	return s
}

// first returns the winner, or nil if no server is eligible.
func (l *least) first() *RealServer {
	w := l.tree.root()
	if w.load.per == 0 {
		return nil
	}
	return l.list.at[w.slot]
}

func (l *least) record(rec *Record, chosen *RealServer) {
	l.list.each(func(_ int, s *RealServer) bool {
		c := rec.Add(s, l.figure(s))
		if c.Skip == "" && l.load(s).per == 0 {
			c.Skip = l.skip
		}
		if chosen != nil && s != chosen && c.Skip == "" {
			c.Tie = !l.load(chosen).less(l.load(s))
		}
		return true
	})
	rec.Choose(chosen)
}

func (l *least) leaf(slot int) contender {
	c := contender{slot: int32(slot)}
	if slot < len(l.list.at) {
		if s := l.list.at[slot]; s != nil && s.Eligible() {
			c.load = l.load(s)
		}
	}
	return c
}

func (l *least) Add(s *RealServer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(s)
}

func (l *least) add(s *RealServer) {
	slot, size, ok := l.list.add(s)
	switch {
	case !ok:
	case size > 0:
		l.tree.build(size, l.leaf)
	default:
		l.tree.set(slot, l.leaf(slot))
	}
}

func (l *least) Remove(s *RealServer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(s)
}

func (l *least) remove(s *RealServer) {
	if slot, ok := l.list.remove(s); ok {
		l.tree.set(slot, l.leaf(slot))
	}
}

func (l *least) Update(s *RealServer) { l.Count(s) }

func (l *least) Count(s *RealServer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(s)
}

func (l *least) count(s *RealServer) {
	if slot, ok := l.list.slots[s]; ok {
		l.tree.set(slot, l.leaf(slot))
	}
}

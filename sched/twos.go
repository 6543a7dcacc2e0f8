package sched

import (
	"fmt"
	"math/rand/v2"
	"sync"

	"uvs/forwarder/frame"
)

// twos is the power of two choices (Linux 6.2, ip_vs_twos.c; Mitzenmacher, Richa and
// Sitaraman, "The Power of Two Random Choices"): the less loaded of two servers drawn
// at random by weight.
type twos struct {
	mu   sync.Mutex
	list list
	tree tree[sum]
	rand *rand.Rand

	source *rand.PCG // all that rand remembers
}

// sum is a total of weights of eligible servers.
type sum uint64

func (s sum) merge(after sum) sum { return s + after }

func newTwos(seed uint64) *twos {
	source := rand.NewPCG(seed, 0)
	return &twos{rand: rand.New(source), source: source}
}

func (t *twos) Name() string { return "twos" }

func (t *twos) Pick(_ *frame.Flow, rec *Record) *RealServer {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := uint64(t.tree.root())
	if total == 0 {
		if rec != nil {
			t.record(rec, "no server to draw from", nil, nil, nil)
		}
		return nil
	}
	draw1, draw2 := t.rand.Uint64N(total+1), t.rand.Uint64N(total+1)
	first, second := t.at(draw1), t.at(draw2)
	s := first
	if perWeight(second).less(perWeight(first)) {
		s = second
	}
	if rec != nil {
		t.record(rec, fmt.Sprintf("two drawn by weight, %d and %d of %d; least (active·256+inactive)/weight, the first on a tie",
			draw1, draw2, total), first, second, s)
	}
	return s
}

// at returns the server for a draw from 0 to the total: the first in IPVS's order at
// which the running sum of weights reaches the draw. 0 counts as 1.
func (t *twos) at(draw uint64) *RealServer {
	draw = max(draw, 1)
	i := 1
	for i < t.tree.size() {
		i = 2*i + 1
		if early := uint64(t.tree.nodes[i]); draw > early {
			draw -= early
			i--
		}
	}
	return t.list.at[i-t.tree.size()]
}

func (t *twos) record(rec *Record, rule string, first, second, chosen *RealServer) {
	rec.Begin("twos", rule)
	t.list.each(func(_ int, s *RealServer) bool {
		c := rec.Add(s, perWeightFigure(s))
		if c.Skip == "" && s != first && s != second {
			c.Skip = "not drawn"
		}
		return true
	})
	rec.Choose(chosen)
}

func (t *twos) leaf(slot int) sum {
	if slot < len(t.list.at) {
		if s := t.list.at[slot]; s != nil && s.Eligible() {
			return sum(s.Weight())
		}
	}
	return 0
}

func (t *twos) Add(s *RealServer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot, size, ok := t.list.add(s)
	switch {
	case !ok:
	case size > 0:
		t.tree.build(size, t.leaf)
	default:
		t.tree.set(slot, t.leaf(slot))
	}
}

func (t *twos) Remove(s *RealServer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slot, ok := t.list.remove(s); ok {
		t.tree.set(slot, 0)
	}
}

func (t *twos) Update(s *RealServer) { t.Count(s) }

func (t *twos) Count(s *RealServer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if slot, ok := t.list.slots[s]; ok {
		t.tree.set(slot, t.leaf(slot))
	}
}

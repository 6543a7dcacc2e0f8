package sched

import "sync"

// weights summarizes servers for the round-robin kind.
type weights struct {
	eligible int32 // highest weight of the eligible ones
	max, gcd int32 // over the weights of all
}

func (w weights) merge(after weights) weights {
	return weights{
		eligible: max(w.eligible, after.eligible),
		max:      max(w.max, after.max),
		gcd:      gcd(w.gcd, after.gcd),
	}
}

func gcd(a, b int32) int32 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// round is a server list with a cursor: what rr and wrr share.
type round struct {
	mu   sync.Mutex
	list list
	tree tree[weights]
	cur  int // slot of the server chosen last, or list.head
}

func (r *round) leaf(slot int) (w weights) {
	if slot >= len(r.list.at) || r.list.at[slot] == nil {
		return w
	}
	s := r.list.at[slot]
	w.max = max(0, s.Weight())
	w.gcd = w.max
	if s.Eligible() {
		w.eligible = w.max
	}
	return w
}

// add adds s and reports false if s was in the list already.
func (r *round) add(s *RealServer) bool {
	var cur *RealServer
	if r.cur < len(r.list.at) {
		cur = r.list.at[r.cur]
	}
	slot, size, ok := r.list.add(s)
	switch {
	case !ok:
		return false
	case size > 0:
		r.tree.build(size, r.leaf)
		r.cur = r.list.head()
		if cur != nil {
			r.cur = r.list.slots[cur]
		}
	default:
		r.tree.set(slot, r.leaf(slot))
	}
	return true
}

// remove removes s and reports false if s was not in the list. If s was chosen last,
// the cursor moves back.
func (r *round) remove(s *RealServer) bool {
	slot, ok := r.list.remove(s)
	if !ok {
		return false
	}
	r.tree.set(slot, r.leaf(slot))
	if slot == r.cur {
		r.cur = r.list.before(slot)
	}
	return true
}

// refresh reads s again and reports whether it was edited.
func (r *round) refresh(s *RealServer) (edited bool) {
	slot, ok := r.list.slots[s]
	if !ok {
		return false
	}
	r.tree.set(slot, r.leaf(slot))
	return r.list.edited(slot)
}

// after returns the first eligible server after slot in IPVS's order that has
// at least weight w, or -1.
func (r *round) after(slot int, w int32) int {
	t := r.tree.nodes
	if len(t) < 2 {
		return -1
	}
	i := 1
	if slot < r.tree.size() {
		i = r.tree.size() + slot
		for i > 1 && (i&1 == 0 || t[i-1].eligible < w) {
			i >>= 1
		}
		if i == 1 {
			return -1
		}
		i--
	} else if t[1].eligible < w {
		return -1
	}
	for i < r.tree.size() {
		i = 2*i + 1
		if t[i].eligible < w {
			i--
		}
	}
	return i - r.tree.size()
}

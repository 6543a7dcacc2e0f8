package sched

// merger is a node of a tree: a summary of some servers that can be merged with that
// of the servers after them in IPVS's order.
type merger[N any] interface {
	comparable
	merge(after N) N
}

// tree summarizes the servers of a list: its leaves are the servers by slot, each
// inner node merges two, the root covers all. Setting a leaf repairs the path to the
// root, at most log2 of the slots, and stops where a summary does not change.
type tree[N merger[N]] struct {
	nodes []N // 1 is the root, i has children 2i and 2i+1, leaves begin at len/2
}

// build makes a tree of size leaves, a power of two.
func (t *tree[N]) build(size int, leaf func(slot int) N) {
	t.nodes = make([]N, 2*size)
	for i := range size {
		t.nodes[size+i] = leaf(i)
	}
	for i := size - 1; i > 0; i-- {
		t.nodes[i] = t.nodes[2*i+1].merge(t.nodes[2*i])
	}
}

func (t *tree[N]) size() int { return len(t.nodes) / 2 }

func (t *tree[N]) root() (root N) {
	if len(t.nodes) > 1 {
		root = t.nodes[1]
	}
	return root
}

func (t *tree[N]) set(slot int, leaf N) {
	i := t.size() + slot
	t.nodes[i] = leaf
	for i >>= 1; i > 0; i >>= 1 {
		n := t.nodes[2*i+1].merge(t.nodes[2*i])
		if n == t.nodes[i] {
			return
		}
		t.nodes[i] = n
	}
}

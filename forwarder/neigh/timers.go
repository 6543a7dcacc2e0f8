package neigh

import (
	"container/heap"
	"time"
)

// timers is a heap of neighbours by the time of their next step.
type timers []*neighbour

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

// Push implements heap.Interface.
func (h *timers) Push(x any) {
	n := x.(*neighbour)
	*h = append(*h, n)
	n.slot = len(*h)
}

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	n.slot = 0
	return n
}

// schedule sets the time of the next step of n. The caller holds mu.
func (t *Table) schedule(n *neighbour, due time.Time) {
	n.due = due
	if n.slot > 0 {
		heap.Fix(&t.timers, n.slot-1)
		return
	}
	heap.Push(&t.timers, n)
}

func (t *Table) unschedule(n *neighbour) {
	if n.slot > 0 {
		heap.Remove(&t.timers, n.slot-1)
	}
}

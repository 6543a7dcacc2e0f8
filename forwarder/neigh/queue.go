package neigh

import (
	"time"

	"uvs/forwarder/frame"
)

// Limits on what waits for MAC addresses. Linux keeps 208 KiB for each neighbour
// (unres_qlen_bytes in arp(7)).
const (
	queueFrames = 128
	queueBytes  = 256 << 10
	totalBytes  = 8 << 20
)

// Queue copies f, which waits for the MAC address of h, and returns Queued. Run sends
// the frames of a Hop in order when it is known. Queue returns DropNeighbourQueue if no
// more may wait, and DropNoNeighbour if the next hop has just failed to reply or too
// many others are being resolved.
func (t *Table) Queue(h *Hop, f *frame.Frame) frame.Verdict {
	n := h.neighbour
	if n == nil {
		return frame.DropNoNeighbour
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.phase == phaseNew && !n.removed {
		t.begin(n, time.Now())
		t.kick()
	}
	switch {
	case n.removed || n.phase == phaseNew || n.phase == phaseFailed:
		return frame.DropNoNeighbour
	case len(n.queue) >= queueFrames || n.bytes+f.Len() > queueBytes || t.queued+f.Len() > totalBytes:
		return frame.DropNeighbourQueue
	}
	n.queue = append(n.queue, keep(f, h))
	n.bytes += f.Len()
	t.queued += f.Len()
	if n.known() {
		t.ready = append(t.ready, n)
		t.kick()
	}
	return frame.Queued
}

// Waiting calls f with each frame that waits, while no other can.
func (t *Table) Waiting(f func(*frame.Frame)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, n := range t.neighbours {
		for i := range n.queue {
			f(&n.queue[i])
		}
	}
}

// keep returns a copy of a frame outside its Port's memory.
func keep(f *frame.Frame, h *Hop) frame.Frame {
	c := f.Copy()
	c.Egress = h.Link
	return c
}

// newFrame returns a frame of n bytes with headroom.
func newFrame(n int) frame.Frame {
	var f frame.Frame
	f.Reset(make([]byte, frame.Headroom+n), frame.Headroom, frame.Headroom+n, n)
	return f
}

// release emits the frames whose MAC address is now known. The caller holds mu.
func (t *Table) release() {
	for _, n := range t.ready {
		l := t.view.Load().links[n.link]
		if l == nil || !n.known() {
			continue
		}
		for i := range n.queue {
			n.queue[i].SetMACs(n.mac[:], l.MAC[:])
		}
		t.emit(n.link, n.queue...)
		t.empty(n)
	}
	clear(t.ready)
	t.ready = t.ready[:0]
}

// drop empties the queue of n for a reason.
func (t *Table) drop(n *neighbour, why frame.Verdict) {
	if len(n.queue) > 0 && t.cfg.Dropped != nil {
		t.cfg.Dropped(why, n.queue)
	}
	t.empty(n)
}

func (t *Table) empty(n *neighbour) {
	t.queued -= n.bytes
	n.queue, n.bytes = nil, 0
}

// emit adds frames to those sent at the end of the step.
func (t *Table) emit(link int, frames ...frame.Frame) {
	t.out[link] = append(t.out[link], frames...)
}

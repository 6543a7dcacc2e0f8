package neigh

import (
	"net/netip"

	"uvs/forwarder/frame"
)

// Peek is Lookup for somebody who only wants to know: nothing is asked on the wire, and no
// neighbour counts as used. Frames must not be queued for the Hop.
func (t *Table) Peek(dst netip.Addr) (*Hop, frame.Verdict) {
	dst = dst.Unmap()
	w := t.route(dst)
	if w == nil {
		return nil, frame.DropNoRoute
	}
	if w.hop != nil {
		return w.hop, frame.Continue
	}
	k := key{w.link, w.gateway}
	if !w.gateway.IsValid() {
		k.addr = dst
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.neighbours[k]
	if n == nil {
		n = &neighbour{key: k}
	}
	return w.newHop(n), frame.Continue
}

// PeekQueue returns what Queue would for a frame of so many bytes, and queues nothing.
func (t *Table) PeekQueue(h *Hop, bytes int) frame.Verdict {
	n := h.neighbour
	if n == nil {
		return frame.DropNoNeighbour
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	busy := n.phase == phaseNew && t.resolving[n.link] >= maxResolving && !n.met
	switch {
	case n.phase == phaseFailed || busy:
		return frame.DropNoNeighbour
	case len(n.queue) >= queueFrames || n.bytes+bytes > queueBytes || t.queued+bytes > totalBytes:
		return frame.DropNeighbourQueue
	}
	return frame.Queued
}

// Origin is where the MAC address of a next hop comes from, in one word of a closed list.
type Origin string

// Origins.
const (
	OriginNone      Origin = "none"      // none is needed: a local address, or a link without Ethernet
	OriginKernel    Origin = "kernel"    // the kernel's neighbour table
	OriginPermanent Origin = "permanent" // an administrator's entry there
	OriginAnswer    Origin = "answer"    // an answer to the director's own request
	OriginAsking    Origin = "asking"    // not known: the director asks
	OriginSilent    Origin = "silent"    // not known: the neighbour has just not answered
)

// Origin says where the MAC address of a Hop comes from.
func (t *Table) Origin(h *Hop) Origin {
	n := h.neighbour
	if n == nil {
		return OriginNone
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	switch {
	case n.permanent:
		return OriginPermanent
	case n.phase == phaseFailed:
		return OriginSilent
	case !n.known():
		return OriginAsking
	case n.kernel:
		return OriginKernel
	}
	return OriginAnswer
}

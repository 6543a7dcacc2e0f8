package neigh

import (
	"net/netip"
	"time"

	"uvs/forwarder/frame"
)

// settled is how long an answer is beyond doubt: Linux waits as long before it
// asks about what nobody confirms (arp(7), delay_first_probe_time).
const settled = 5 * time.Second

// Doubt tells that nothing is heard of dst any more. The next hop on the way there
// is asked about, unless it answered just now: at its MAC address once, then all
// hosts of the link, for another may have its address. Until one answers or none
// does, the known MAC address is used.
func (t *Table) Doubt(dst netip.Addr) {
	h, v := t.Lookup(dst)
	if v != frame.Continue || h.neighbour == nil {
		return
	}
	n, now := h.neighbour, time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.phase != phaseKnown || n.doubted || n.permanent || n.gone || now.Sub(n.confirmed) < settled {
		return
	}
	n.doubted = true
	n.idle.Store(false)
	t.schedule(n, now)
	t.kick()
}

// asksAll reports whether the question about n is for all hosts of the link.
func (n *neighbour) asksAll() bool {
	return n.phase != phaseProbing || n.doubted && n.asked > 1
}

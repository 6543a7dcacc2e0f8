package neigh

import (
	"net/netip"
	"time"

	"uvs/forwarder/frame"
)

// replyTrusted is how long after a reply no probe is sent: Linux waits as long before it probes
// an unconfirmed entry (arp(7), delay_first_probe_time).
const replyTrusted = 5 * time.Second

// Probe reports that dst has fallen silent. Its next hop is probed, unless it has just
// replied: once at its MAC address, then by asking all hosts of the link, because
// another may have its address. Until one replies or the probes fail, the known MAC
// address is used.
func (t *Table) Probe(dst netip.Addr) {
	h, v := t.Lookup(dst)
	if v != frame.Continue || h.neighbour == nil {
		return
	}
	n, now := h.neighbour, time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.phase != phaseKnown || n.suspect || n.permanent || n.removed || now.Sub(n.confirmed) < replyTrusted {
		return
	}
	n.suspect = true
	n.idle.Store(false)
	t.schedule(n, now)
	t.kick()
}

// broadcasts reports whether the request for n is sent to all hosts of the link.
func (n *neighbour) broadcasts() bool {
	return n.phase != phaseProbing || n.suspect && n.requests > 1
}

package neigh

import (
	"net/netip"
	"sync/atomic"
	"time"

	"uvs/forwarder/frame"
)

// The timing of neighbour discovery: RFC 4861 section 10 and the defaults of
// Linux (arp(7)).
const (
	retransmit    = time.Second      // between two requests
	maxRequests   = 3                // to the known MAC address, then to all
	reachable     = 30 * time.Second // how long a reply is trusted
	lockTime      = time.Second      // how long a reply outweighs an unsolicited claim
	failedFor     = 3 * time.Second  // how long a neighbour that did not reply is not asked again
	forgetAfter   = 20               // intervals of ageEvery without a Lookup
	maxNeighbours = 65536            // from here on a new one takes the place of one that is not in use
	maxResolving  = 1024             // on a link at a time; each is up to three broadcasts
)

// key identifies a neighbour. The address may be of the other family than that of the
// packets for it.
type key struct {
	link int
	addr netip.Addr
}

// phase is the state of a neighbour's resolution.
type phase uint8

const (
	phaseNew     phase = iota // nothing known, nobody needs it
	phaseAsking               // all hosts of the link are asked
	phaseKnown                // its MAC address is used
	phaseProbing              // its MAC address is used and being verified
	phaseFailed               // it did not reply
)

// neighbour is what is known about a host on a link.
type neighbour struct {
	key
	hops atomic.Pointer[[]*Hop] // those through it, replaced as a whole
	used atomic.Uint32          // Table.age at the last Lookup
	idle atomic.Bool            // the next Lookup is to call Table.maintain

	// Guarded by Table.mu.
	phase     phase
	mac       [6]byte
	kernel    bool // the kernel has a valid entry
	permanent bool // set by an administrator: never probed
	removed   bool // no longer in the table
	suspect   bool // see Probe
	met       bool // it has replied, or the kernel knew it
	confirmed time.Time
	requests  int
	due       time.Time // of the next step, if in the heap
	slot      int       // in the heap plus one, 0 if not
	queue     []frame.Frame
	bytes     int // in the queue
}

// observation is an address seen together with a MAC address on a link.
type observation struct {
	key
	mac      [6]byte
	answer   bool // a reply to a request, not an unsolicited claim
	override bool // outweighs what is known (RFC 4861 section 4.4); ARP always does
	asks     bool // it asks for an owned address, so it is about to send
	moved    bool // and at once: an announcement, gratuitous ARP or any of NDP (arp.c, arp_is_garp; ndisc.c)
}

// kernelEntry is an entry of the kernel's neighbour table.
type kernelEntry struct {
	key
	mac       [6]byte
	valid     bool // it has a MAC address that the kernel uses
	confirmed bool // the kernel has just had a reply
	changed   bool // the kernel may have a new MAC address
	permanent bool
}

func (n *neighbour) known() bool { return n.phase == phaseKnown || n.phase == phaseProbing }

// newNeighbour adds an empty entry. The caller holds mu.
func (t *Table) newNeighbour(k key) *neighbour {
	n := &neighbour{key: k}
	n.used.Store(t.age.Load())
	n.idle.Store(true)
	t.neighbours[k] = n
	return n
}

// maintain is called for the first Lookup of an entry that is not being maintained: it
// starts resolution, or the verification of what is known.
func (t *Table) maintain(n *neighbour) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(n, time.Now())
	t.kick()
}

func (t *Table) begin(n *neighbour, now time.Time) {
	switch {
	case n.removed || n.permanent:
	case n.phase == phaseKnown:
		t.schedule(n, n.confirmed.Add(reachable))
	case n.phase != phaseNew:
	case t.resolving[n.link] >= maxResolving && !n.met:
		n.idle.Store(true) // a later Lookup may succeed
		return
	default:
		n.requests = 0
		t.enter(n, phaseAsking)
		t.schedule(n, now)
	}
	n.idle.Store(false)
}

// enter changes the phase. The caller holds mu.
func (t *Table) enter(n *neighbour, p phase) {
	if n.phase == phaseAsking {
		t.resolving[n.link]--
	}
	if p == phaseAsking {
		t.resolving[n.link]++
	}
	n.suspect = n.suspect && p == phaseProbing
	n.phase = p
}

// inUse reports whether a Lookup of this or the last interval named n.
func (t *Table) inUse(n *neighbour) bool { return t.age.Load()-n.used.Load() <= 1 }

// expire advances every neighbour whose timer is due and returns when the next one will
// be. The caller holds mu.
func (t *Table) expire() time.Time {
	for len(t.timers) > 0 && !t.timers[0].due.After(t.now) {
		n := t.timers[0]
		t.unschedule(n)
		t.advance(n)
	}
	if len(t.timers) == 0 {
		return time.Time{}
	}
	return t.timers[0].due
}

func (t *Table) advance(n *neighbour) {
	switch n.phase {
	case phaseKnown:
		if !t.inUse(n) {
			n.idle.Store(true)
			return
		}
		n.requests = 0
		t.enter(n, phaseProbing)
		t.ask(n)
	case phaseProbing:
		if n.requests >= maxRequests {
			n.requests = 0
			t.forgetMAC(n)
			t.enter(n, phaseAsking)
		}
		t.ask(n)
	case phaseAsking:
		if n.requests >= maxRequests {
			t.enter(n, phaseFailed)
			t.drop(n, frame.DropNoNeighbour)
			t.schedule(n, t.now.Add(failedFor))
			return
		}
		t.ask(n)
	case phaseFailed:
		t.enter(n, phaseNew)
		n.idle.Store(true)
	}
}

// ask sends the next request, to the known MAC address or to all.
func (t *Table) ask(n *neighbour) {
	n.requests++
	t.schedule(n, t.now.Add(retransmit))
	l := t.view.Load().links[n.link]
	if l == nil {
		return
	}
	if n.addr.Is4() {
		t.emit(l.Index, arpRequest(l, n))
	} else {
		t.emit(l.Index, solicitation(l, n))
	}
}

// learnAll applies an observation and those that wait behind it: under a flood a step of
// Run for each would cost more than they do.
func (t *Table) learnAll(s observation) {
	t.learn(s)
	for range len(t.learned) {
		t.learn(<-t.learned)
	}
}

// learn applies what Answer saw.
func (t *Table) learn(s observation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.neighbours[s.key]
	if n == nil && s.asks {
		t.meet(s)
		return
	}
	if n == nil || n.permanent {
		return
	}
	switch {
	case !n.known() && s.asks:
		t.setMAC(n, s.mac, false)
	case !n.known() && n.phase != phaseNew:
		t.setMAC(n, s.mac, s.answer)
	case n.known() && n.mac == s.mac:
		if s.answer {
			t.confirm(n)
		}
	case n.known() && s.override && (s.moved || n.phase == phaseProbing || t.now.Sub(n.confirmed) > lockTime):
		t.setMAC(n, s.mac, s.answer)
	}
}

// followEntry applies a change of the kernel's neighbour table, except for entries made
// by updateHostEntries.
func (t *Table) followEntry(e kernelEntry) {
	if t.cfg.HostEntries && t.ownsAddr(e.addr) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.neighbours[e.key]
	if !e.valid {
		t.kernelLost(n)
		return
	}
	if n == nil {
		n = t.newNeighbour(e.key)
	}
	was := n.permanent
	n.kernel, n.permanent = true, e.permanent
	switch {
	case !n.known() || n.mac != e.mac && (e.changed || e.permanent):
		t.setMAC(n, e.mac, e.confirmed || e.permanent)
	case n.mac == e.mac && (e.confirmed || e.permanent != was):
		t.confirm(n)
	}
}

// kernelLost is called for an entry that the kernel deleted or could not confirm. An
// entry set by an administrator is dropped; any other is probed.
func (t *Table) kernelLost(n *neighbour) {
	if n == nil || !n.kernel {
		return
	}
	was := n.permanent
	n.kernel, n.permanent = false, false
	if !n.known() {
		return
	}
	if was || n.idle.Load() {
		t.forgetMAC(n)
		n.idle.Store(true)
		t.unschedule(n)
		return
	}
	if n.phase == phaseKnown {
		t.schedule(n, t.now)
	}
}

// setMAC makes mac the neighbour's MAC address. An address that nobody confirmed is
// used, and probed soon.
func (t *Table) setMAC(n *neighbour, mac [6]byte, confirmed bool) {
	n.mac = mac
	t.changes.Add(1)
	t.enter(n, phaseKnown)
	t.publish(n)
	if len(n.queue) > 0 {
		t.ready = append(t.ready, n)
	}
	if confirmed {
		t.confirm(n)
		return
	}
	n.confirmed = time.Time{}
	if !n.idle.Load() {
		t.schedule(n, t.now.Add(retransmit))
	}
}

func (t *Table) confirm(n *neighbour) {
	if !n.met {
		t.changes.Add(1)
	}
	n.confirmed, n.met = t.now, true
	t.enter(n, phaseKnown)
	switch {
	case n.permanent:
		t.unschedule(n)
	case !n.idle.Load():
		t.schedule(n, t.now.Add(reachable))
	}
}

// forgetMAC forgets the MAC address.
func (t *Table) forgetMAC(n *neighbour) {
	n.mac = [6]byte{}
	t.enter(n, phaseNew)
	t.publish(n)
}

// publish replaces the Hops through n. Where none was given nobody has to look up again.
func (t *Table) publish(n *neighbour) {
	old := n.hops.Load()
	if old == nil {
		return
	}
	var hops []*Hop
	for _, h := range *old {
		if t.inView(h.path) {
			hops = append(hops, h.path.newHop(n))
		}
	}
	n.hops.Store(&hops)
	t.changed()
}

// sweep removes the neighbours of links that are gone, down or renumbered. The
// caller holds mu.
func (t *Table) sweep(v *view) {
	for _, n := range t.neighbours {
		if l := v.links[n.link]; l == nil || !l.Up {
			t.forget(n)
		}
	}
}

// ageOut ends an interval: entries long unused are forgotten, and workers have to look up
// again those they use.
func (t *Table) ageOut() {
	t.mu.Lock()
	age := t.age.Add(1)
	for _, n := range t.neighbours {
		unused := age - n.used.Load()
		if !n.kernel && (unused > forgetAfter || unused > 1 && (!n.known() || n.confirmed.IsZero())) {
			t.forget(n)
		}
	}
	t.mu.Unlock()
	t.changed()
}

func (t *Table) forget(n *neighbour) {
	t.drop(n, frame.DropNoNeighbour)
	t.unschedule(n)
	t.enter(n, phaseNew)
	n.removed = true
	delete(t.neighbours, n.key)
}

package neigh

import (
	"net/netip"

	"uvs/forwarder/frame"
)

// Hop is the next hop towards an address. It is immutable once published.
type Hop struct {
	Link   int     // index of the outgoing interface
	MTU    int     // bytes of the largest IP packet
	SrcMAC [6]byte // of the interface
	DstMAC [6]byte // of the next hop, valid if Resolved

	Resolved bool // frames can be sent; if not, they go to Queue
	Local    bool // the address belongs to this host, Link is its loopback
	Ethernet bool // frames on Link have an Ethernet header

	// Source is the source address the host would use on this path: for the outer header
	// of tunnels, and for ICMP messages. It is the zero Addr if there is none.
	Source netip.Addr
	// Gateway is the next router, the zero Addr if the destination is on the link. It may
	// be an IPv6 address for an IPv4 destination (RFC 5549).
	Gateway netip.Addr

	neighbour *neighbour
	path      *path
}

// newHop returns the Hop for the path and n, which is nil if the path needs no
// neighbour. The caller holds Table.mu if n is not nil.
func (w *path) newHop(n *neighbour) *Hop {
	h := &Hop{
		Link: w.link, MTU: w.mtu, SrcMAC: w.mac,
		Local: w.local, Ethernet: w.ethernet,
		Source: w.source, Gateway: w.gateway,
		Resolved: w.direct, neighbour: n, path: w,
	}
	if n != nil && n.known() {
		h.DstMAC, h.Resolved = n.mac, true
	}
	return h
}

// Lookup returns the next hop for dst and Continue. If its MAC address is not known,
// the Hop is not Resolved and resolution has begun. Lookup returns DropNoRoute if the
// kernel has no route to dst, and DropNoNeighbour if too many neighbours are being
// resolved already.
func (t *Table) Lookup(dst netip.Addr) (*Hop, frame.Verdict) {
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
	n := t.neighbour(k)
	if n == nil {
		return nil, frame.DropNoNeighbour
	}
	n.used.Store(t.age.Load())
	if n.idle.Load() && n.idle.CompareAndSwap(true, false) {
		t.maintain(n)
	}
	if h := n.hop(w); h != nil {
		return h, frame.Continue
	}
	return t.addHop(n, w), frame.Continue
}

// maxRouteAnswers bounds the answers of the kernel that are kept while a rule is opaque.
const maxRouteAnswers = 65536

// route is view.route, with the kernel's help where a rule is opaque.
func (t *Table) route(dst netip.Addr) *path {
	v := t.view.Load()
	f := &v.fib6
	if dst.Is4() {
		f = &v.fib4
	}
	if !f.opaque {
		return f.route(dst)
	}
	t.mu.RLock()
	w, ok := t.routeAnswers[dst]
	t.mu.RUnlock()
	if ok {
		return w
	}
	return t.askRoute(v, dst)
}

func (t *Table) askRoute(v *view, dst netip.Addr) *path {
	r, err := t.kernel.route(dst)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.view.Load() != v || len(t.routeAnswers) >= maxRouteAnswers {
		v = t.view.Load()
		clear(t.routeAnswers)
		clear(t.answerPaths)
	}
	var w *path
	if err == nil && len(r.hops) > 0 {
		w = v.path(&r, &r.hops[0], t.answerPaths, v.paths)
	}
	t.routeAnswers[dst] = w
	return w
}

// inView reports whether a Lookup may still return w. The caller holds mu.
func (t *Table) inView(w *path) bool {
	return t.view.Load().paths[w.pathFacts] == w || t.answerPaths[w.pathFacts] == w
}

// neighbour returns the entry for k and creates one if there is none. It returns nil if
// the table is full.
func (t *Table) neighbour(k key) *neighbour {
	t.mu.RLock()
	n := t.neighbours[k]
	t.mu.RUnlock()
	if n != nil {
		return n
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.neighbours[k]; n != nil {
		return n
	}
	if len(t.neighbours) >= maxNeighbours && !t.makeRoom() {
		return nil
	}
	return t.newNeighbour(k)
}

// hop returns the published Hop for w, or nil.
func (n *neighbour) hop(w *path) *Hop {
	if hops := n.hops.Load(); hops != nil {
		for _, h := range *hops {
			if h.path == w {
				return h
			}
		}
	}
	return nil
}

func (t *Table) addHop(n *neighbour, w *path) *Hop {
	t.mu.Lock()
	defer t.mu.Unlock()
	if h := n.hop(w); h != nil {
		return h
	}
	var hops []*Hop
	if old := n.hops.Load(); old != nil {
		for _, h := range *old {
			if t.inView(h.path) {
				hops = append(hops, h)
			}
		}
	}
	h := w.newHop(n)
	hops = append(hops, h)
	n.hops.Store(&hops)
	return h
}

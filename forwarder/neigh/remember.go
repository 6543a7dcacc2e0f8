package neigh

import (
	"cmp"
	"net/netip"
	"slices"
)

// Neighbour is a host on a link, as one director tells the next of it.
type Neighbour struct {
	Link int        `json:"link"` // index of the interface
	Addr netip.Addr `json:"addr"`
	MAC  [6]byte    `json:"mac"`
}

// maxRemembered is how many neighbours are told of.
const maxRemembered = 1024

// Changes counts changes in what Neighbours returns.
func (t *Table) Changes() uint64 { return t.changes.Load() }

// Neighbours returns those that have replied and are in use, for Remember: packets that wait
// for the next director would otherwise be more than may wait for a MAC address.
func (t *Table) Neighbours() (all []Neighbour) {
	t.mu.RLock()
	for _, n := range t.neighbours {
		if n.known() && !n.kernel && n.met && t.inUse(n) && len(all) < maxRemembered {
			all = append(all, Neighbour{n.link, n.addr, n.mac})
		}
	}
	t.mu.RUnlock()
	slices.SortFunc(all, func(a, b Neighbour) int { return cmp.Or(cmp.Compare(a.Link, b.Link), a.Addr.Compare(b.Addr)) })
	return all
}

// Remember takes over what an earlier director knew. The addresses are used at once, unless
// the kernel knows better, and are asked for soon.
func (t *Table) Remember(all []Neighbour) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range all {
		k := key{r.Link, r.Addr}
		if t.view.Load().links[r.Link] == nil || t.neighbours[k] != nil || len(t.neighbours) >= maxNeighbours {
			continue
		}
		n := t.newNeighbour(k)
		n.met = true
		t.setMAC(n, r.MAC, false)
	}
}

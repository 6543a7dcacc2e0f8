package neigh

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/arp"

	"uvs/forwarder/frame"
)

// asked are the hosts that were asked, at their own MAC addresses, for addresses that
// are not theirs to answer for: a real server by direct routing has the virtual address
// and must not say so (arp_ignore).
type asked struct {
	count atomic.Int32 // of entries
	mu    sync.Mutex
	all   map[claimant]*claimTimes
}

// claimant is a host on a link, and an address.
type claimant struct {
	link int
	mac  [6]byte
	addr netip.Addr
}

type claimTimes struct{ asked, answered time.Time }

// askedKept bounds how many are remembered; the oldest questions are forgotten first.
const askedKept = 65536

// AskClaim returns the ARP request that asks a next hop for an IPv4 address, for the caller
// to send. It reports false if there is none for the address or the link.
func (t *Table) AskClaim(hop *Hop, addr netip.Addr) (frame.Frame, bool) {
	l := t.view.Load().links[hop.Link]
	if l == nil || !addr.Is4() || !hop.Source.Is4() {
		return frame.Frame{}, false
	}
	key, now := claimant{hop.Link, hop.DstMAC, addr}, time.Now()
	a := &t.asked
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil || len(a.all) >= askedKept {
		a.all = map[claimant]*claimTimes{}
	}
	if a.all[key] == nil {
		a.all[key] = &claimTimes{}
	}
	a.all[key].asked = now
	a.count.Store(int32(len(a.all)))
	return arpFrame(l, hop.DstMAC, arp.OperationRequest, hop.Source, [6]byte{}, addr), true
}

// Claimed returns when a next hop last answered AskClaim for an address; the zero Time if
// it never did.
func (t *Table) Claimed(hop *Hop, addr netip.Addr) time.Time {
	a := &t.asked
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.all[claimant{hop.Link, hop.DstMAC, addr}]; c != nil {
		return c.answered
	}
	return time.Time{}
}

// answers reports whether an ARP reply answers AskClaim: it tells nobody else anything.
func (a *asked) answers(link int, mac [6]byte, addr netip.Addr) bool {
	if a.count.Load() == 0 {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.all[claimant{link, mac, addr}]
	if c == nil {
		return false
	}
	c.answered = time.Now()
	return true
}

// HostAddr returns an address of the host, of the family of another: on the given
// interface or, if on is false, on another one that is not the loopback interface. On the
// interface it is none that the director answers for, and on others only if there is no
// other. It is the zero Addr if there is none.
func (t *Table) HostAddr(link int, on bool, family netip.Addr) (found netip.Addr) {
	v := t.view.Load()
	for _, l := range v.links {
		if (l.Index == link) != on || l == v.loopback || !l.Up {
			continue
		}
		for i := range l.addrs {
			a := l.addrs[i].prefix.Addr()
			if a.Is4() != family.Is4() || a.IsLinkLocalUnicast() || l.addrs[i].unusable || on && t.ownsAddr(a) {
				continue
			}
			if !found.IsValid() || t.ownsAddr(found) && !t.ownsAddr(a) || t.ownsAddr(found) == t.ownsAddr(a) && a.Less(found) {
				found = a
			}
		}
	}
	return found
}

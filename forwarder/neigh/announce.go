package neigh

import (
	"iter"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/arp"

	"uvs/forwarder/frame"
)

// When an address or a link appears it is announced at once and then every
// announceAgain for announceFor, because the first announcements are easily
// lost while switches and hosts still start to forward.
const (
	announceAgain = 1100 * time.Millisecond
	announceFor   = 5 * time.Second

	announceBurst = 256 // addresses in one step
	announcePause = 10 * time.Millisecond
)

// announcements keeps the times at which owned addresses are announced. Each
// address on each link has its own time.
type announcements struct {
	every time.Duration // negative: never repeated
	due   []*announcement
	next  time.Time // no time in due is earlier; zero: recompute
	links map[int]announcer
}

// announcer is a link on which announcements are made, with the state whose change
// makes new ones necessary.
type announcer struct {
	mac     [6]byte
	running bool
}

type announcement struct {
	addr  netip.Addr
	link  int
	at    time.Time
	until time.Time // of the quick repeats
}

func newAnnouncements(every time.Duration) *announcements {
	return &announcements{every: every, links: make(map[int]announcer)}
}

// SetOwned replaces the set of addresses that are the director's own: virtual
// addresses, and the local addresses of FULLNAT. From now on Answer replies for them.
// New ones are announced by Run at once, every 1.1 s for 5 s, and every
// Config.AnnounceEvery: IPv4 by gratuitous ARP in request and in reply form (RFC 5944
// section 4.6), IPv6 by unsolicited neighbour advertisements. An address is announced
// on the links whose network it belongs to, or on all links if it belongs to none.
func (t *Table) SetOwned(addrs []netip.Addr) {
	wanted := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		wanted[a.Unmap().WithZone("")] = true
	}
	var remove []netip.Addr
	for a := range t.ownedAddrs() {
		if !wanted[a] {
			remove = append(remove, a)
		}
	}
	t.ChangeOwned(addrs, remove)
}

// ChangeOwned adds addresses to those of SetOwned and removes others.
func (t *Table) ChangeOwned(add, remove []netip.Addr) {
	gone, six := make(map[netip.Addr]bool, len(remove)), false
	t.mu.Lock()
	for _, a := range remove {
		a = a.Unmap().WithZone("")
		if _, was := t.owned.LoadAndDelete(a); was {
			gone[a] = true
			six = six || a.Is6()
		}
	}
	if len(gone) > 0 {
		t.announcements.due = slices.DeleteFunc(t.announcements.due, func(n *announcement) bool { return gone[n.addr] })
	}
	var fresh []netip.Addr
	for _, a := range add {
		if a = a.Unmap().WithZone(""); !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			continue
		}
		if _, was := t.owned.LoadOrStore(a, struct{}{}); !was {
			fresh = append(fresh, a)
			t.announcements.address(a, t.view.Load(), time.Now())
		}
	}
	if len(gone)+len(fresh) > 0 {
		t.changed() // Admits depends on them
	}
	t.mu.Unlock()
	if len(gone)+len(fresh) == 0 {
		return
	}
	t.hostChanged.Store(true)
	if six {
		t.joinGroups()
	} else {
		t.joinGroupsOf(fresh)
	}
	t.kick()
}

// ownedAddrs returns the director's own addresses in no particular order.
func (t *Table) ownedAddrs() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		t.owned.Range(func(a, _ any) bool { return yield(a.(netip.Addr)) })
	}
}

// address schedules announcements of a new address on all links it concerns.
func (n *announcements) address(a netip.Addr, v *view, now time.Time) {
	n.next = time.Time{}
	home := v.connected(a)
	for i := range v.ports {
		l := &v.ports[i]
		if l.Ethernet && (len(home) == 0 || home[l.Index]) {
			n.due = append(n.due, &announcement{addr: a, link: l.Index, at: now, until: now.Add(announceFor)})
		}
	}
}

// connected returns the links with a network that contains a, up or not: an address
// does not move to another link because its own is down.
func (v *view) connected(a netip.Addr) map[int]bool {
	var home map[int]bool
	for _, l := range v.links {
		for i := range l.addrs {
			p := l.addrs[i].prefix
			if l.Ethernet && l.usable() && !p.IsSingleIP() && p.Contains(a) {
				if home == nil {
					home = make(map[int]bool)
				}
				home[l.Index] = true
			}
		}
	}
	return home
}

// relink adapts to changed links: announcements move with the networks, and on a link
// that came up or got another MAC address everything is announced again. The caller
// holds mu.
func (t *Table) relink(v *view) {
	n := t.announcements
	fresh := make(map[int]bool)
	links := make(map[int]announcer)
	for i := range v.ports {
		l := &v.ports[i]
		links[l.Index] = announcer{mac: l.MAC, running: l.Running}
		was, ok := n.links[l.Index]
		fresh[l.Index] = !ok || was.mac != l.MAC || l.Running && !was.running
	}
	n.links = links
	type place struct {
		addr netip.Addr
		link int
	}
	old := make(map[place]*announcement, len(n.due))
	for _, a := range n.due {
		old[place{a.addr, a.link}] = a
	}
	n.due = nil
	for addr := range t.ownedAddrs() {
		n.address(addr, v, t.now)
	}
	for i, a := range n.due {
		if was := old[place{a.addr, a.link}]; was != nil && !fresh[a.link] {
			n.due[i] = was
		}
	}
}

// announce sends the announcements that are due, at most a burst, and returns when to
// continue. The caller holds mu.
func (t *Table) announce() time.Time {
	if t.announcements.next.After(t.now) {
		return t.announcements.next
	}
	var next time.Time
	v, sent := t.view.Load(), 0
	for _, a := range t.announcements.due {
		if !a.at.IsZero() && !a.at.After(t.now) {
			if sent == announceBurst {
				return t.now.Add(announcePause)
			}
			sent++
			t.sendAnnouncement(v, a)
			a.at = t.announcements.nextTime(a, t.now)
		}
		next = earlier(next, a.at)
	}
	t.announcements.next = next
	return next
}

// nextTime returns the time of the announcement after the one made now.
func (n *announcements) nextTime(a *announcement, now time.Time) time.Time {
	if at := now.Add(announceAgain); !at.After(a.until) {
		return at
	}
	if n.every < 0 {
		return time.Time{}
	}
	return now.Add(n.every)
}

func (t *Table) sendAnnouncement(v *view, a *announcement) {
	l := v.links[a.link]
	if l == nil {
		return
	}
	if a.addr.Is4() {
		t.claims.gratuitous.Add(1)
		t.emit(l.Index, gratuitous(l, a.addr)...)
		return
	}
	t.claims.unsolicited.Add(1)
	t.emit(l.Index, advertisement(l, a.addr, v.forwarding6))
}

// gratuitous returns both forms of a gratuitous ARP message: some hosts evaluate one,
// some the other.
func gratuitous(l *link, a netip.Addr) []frame.Frame {
	return []frame.Frame{
		arpFrame(l, broadcast, arp.OperationRequest, a, [6]byte{}, a),
		arpFrame(l, broadcast, arp.OperationReply, a, l.MAC, a),
	}
}

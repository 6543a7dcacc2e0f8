package neigh

import (
	"maps"
	"net"
	"sync/atomic"
	"time"
)

const (
	// defendEvery is how often an address that another host claims is announced again on
	// a link: RFC 5227 section 2.4 (DEFEND_INTERVAL) allows no more, so that two hosts
	// that both defend it do not fill the network.
	defendEvery = 10 * time.Second
	// defendBurst bounds the announcements of all addresses in a defendEvery.
	defendBurst = 256
	// warnEvery is how often the same claim is logged, and warnBurst how many lines there
	// are of all in that time.
	warnEvery = time.Minute
	warnBurst = 10
	// claimsKept bounds how many addresses on links are remembered: those of a very large
	// director all claimed at once. Then those are forgotten that need be neither kept
	// from being announced nor from being logged.
	claimsKept = 4096
	// claimsPause is how long Run listens to no claim after some: workers then only count
	// them.
	claimsPause = 100 * time.Millisecond
)

// claims are what is known about other hosts that claim an owned address, by ARP or
// neighbour advertisement.
type claims struct {
	seen     atomic.Uint64 // messages
	defended atomic.Uint64 // announcements they led to

	answered, ignored       atomic.Uint64 // ARP requests for an owned address
	gratuitous, unsolicited atomic.Uint64 // announcements by ARP, and by neighbour advertisement

	again time.Time // when Run listens to the next; Run only

	// Guarded by Table.mu.
	known    map[key]*claim
	defences budget
	lines    budget
}

type claim struct {
	seen             uint64 // messages that Run has handled since the last line of the log
	defended, warned time.Time
}

// budget lets so many things happen in a time.
type budget struct {
	left  int
	until time.Time
}

// take reports whether one more of n may happen in a span that has begun.
func (b *budget) take(now time.Time, n int, span time.Duration) bool {
	if !now.Before(b.until) {
		b.left, b.until = n, now.Add(span)
	}
	if b.left == 0 {
		return false
	}
	b.left--
	return true
}

// open returns the channel of claims if Run listens to it, else nil.
func (c *claims) open(from chan observation, now time.Time) chan observation {
	if now.Before(c.again) {
		return nil
	}
	return from
}

// reopen returns when Run listens again, or never if it does.
func (c *claims) reopen(now time.Time) time.Time {
	if now.Before(c.again) {
		return c.again
	}
	return time.Time{}
}

// reportClaim counts a message in which another host uses an owned address, and tells
// Run.
func (t *Table) reportClaim(s observation) {
	t.claims.seen.Add(1)
	select {
	case t.claimed <- s:
	default:
	}
}

// defendAll handles a claim and those that wait behind it, and pauses.
func (t *Table) defendAll(s observation) {
	t.defend(s)
	for range len(t.claimed) {
		t.defend(<-t.claimed)
	}
	t.claims.again = t.now.Add(claimsPause)
}

// defend announces an address again that another host claims, and names it in the log.
func (t *Table) defend(s observation) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.claims.of(s.key, t.now)
	c.seen++
	if t.now.Sub(c.defended) >= defendEvery && t.claims.defences.take(t.now, defendBurst, defendEvery) {
		c.defended = t.now
		t.claims.defended.Add(1)
		t.sendAnnouncement(t.view.Load(), &announcement{addr: s.addr, link: s.link})
	}
	if t.now.Sub(c.warned) >= warnEvery && t.claims.lines.take(t.now, warnBurst, warnEvery) {
		t.cfg.Log.Warn("another host claims an address of this director; announcing it again",
			"event", "address-claimed", "address", s.addr, "mac", net.HardwareAddr(s.mac[:]).String(), "link", t.view.Load().name(s.link), "claims", c.seen)
		c.warned, c.seen = t.now, 0
	}
}

// of returns what is known about claims to an address on a link. The two budgets let only
// some hundreds of those be recent for which there must be room.
func (c *claims) of(k key, now time.Time) *claim {
	if c.known[k] == nil {
		if len(c.known) >= claimsKept {
			maps.DeleteFunc(c.known, func(_ key, old *claim) bool {
				return now.Sub(old.defended) >= defendEvery && now.Sub(old.warned) >= warnEvery
			})
		}
		c.known[k] = &claim{}
	}
	return c.known[k]
}

// Counters sets the counters of the Table: messages in which other hosts claimed an owned
// address, and announcements made for that reason; ARP requests for an owned address, and all
// announcements.
func (t *Table) Counters(to map[string]uint64) {
	to["address-claims"] = t.claims.seen.Load()
	to["address-defended"] = t.claims.defended.Load()
	to["arp-answered"], to["arp-ignored"] = t.claims.answered.Load(), t.claims.ignored.Load()
	to["announced-arp"], to["announced-ndp"] = t.claims.gratuitous.Load(), t.claims.unsolicited.Load()
}

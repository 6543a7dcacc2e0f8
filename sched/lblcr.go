package sched

import (
	"time"

	"uvs/forwarder/frame"
)

// lblcr is locality-based least-connection with replication (ip_vs_lblcr.c): an
// address has a set of servers, and the least loaded of them takes the connection.
// If that one is overburdened, or none is eligible, wlc's choice joins the set; if
// the set has not changed for the expiration time, the most loaded server leaves
// it. Unlike lblc it respects connection thresholds.
type lblcr struct{ locality }

func newLBLCR(o Options) *lblcr { return &lblcr{newLocality("lblcr", o)} }

func (l *lblcr) Pick(f *frame.Flow, rec *Record) *RealServer {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, addr := l.now(), f.Dst16()
	l.cache.advance(now)
	e := l.cache.get(addr, now)
	if e == nil {
		return l.first(f, addr, now, rec)
	}
	member := l.leastLoaded(&e.set)
	if member != nil && !l.overburdened(member) {
		if rec != nil {
			l.recordSet(rec, f, &e.set, member)
		}
		l.shrink(&e.set, now)
		return member
	}
	l.shrink(&e.set, now)
	s := l.all.first()
	if rec != nil {
		l.recordJoin(rec, f, member, s)
	}
	if s != nil {
		l.insert(&e.set, s, now)
	}
	return s
}

// first gives an address its first server.
func (l *lblcr) first(f *frame.Flow, addr [16]byte, now time.Duration, rec *Record) *RealServer {
	s := l.all.first()
	if s != nil {
		l.insert(&l.cache.insert(addr, now).set, s, now)
	}
	if rec != nil {
		rec.Beginf("lblcr", "%s has no servers yet: %s", f.Dst(), l.all.rule)
		l.all.record(rec, s)
	}
	return s
}

// shrink removes the most loaded server from a set that has not changed for the
// expiration time; the pick under way may still return it.
func (l *lblcr) shrink(s *set, now time.Duration) {
	if len(s.members) > 1 && now > s.changed+l.cache.expiration() {
		if m := mostLoaded(s); m != nil {
			s.remove(m)
			s.changed = now
		}
	}
}

// recordSet records a pick from the set.
func (l *lblcr) recordSet(rec *Record, f *frame.Flow, s *set, chosen *RealServer) {
	rec.Beginf("lblcr", "%s has a set of %d: of them, %s", f.Dst(), len(s.members), l.all.rule)
	for i := len(s.members) - 1; i >= 0; i-- {
		m := s.members[i]
		c := rec.Add(m, perWeightFigure(m))
		if !l.available(m) {
			c.Skip = "no longer a server of the service"
		}
		c.Tie = c.Skip == "" && m != chosen && !l.load(chosen).less(l.load(m))
	}
	rec.Choose(chosen)
}

// recordJoin records a pick from all servers, after which s joins the set.
func (l *lblcr) recordJoin(rec *Record, f *frame.Flow, member, s *RealServer) {
	rec.Beginf("lblcr", "no server of the set of %s can take it; joins the set: %s", f.Dst(), l.all.rule)
	if member != nil {
		rec.Beginf("lblcr", "the best of the set of %s, %s, has too much (%s; %s); joins the set: %s",
			f.Dst(), member.Addr, burden(member), l.leaveReason(member), l.all.rule)
	}
	l.all.record(rec, s)
}

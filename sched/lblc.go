package sched

import (
	"time"

	"uvs/forwarder/frame"
)

// lblc is locality-based least-connection (ip_vs_lblc.c), made for farms of caches
// behind a firewall mark: an address keeps the server that wlc chose first, until
// that server is removed, gets weight 0 or is overburdened. A connection threshold
// does not move an address that has a server; the kernel does not check it there.
type lblc struct{ locality }

func newLBLC(o Options) *lblc { return &lblc{newLocality("lblc", o)} }

func (l *lblc) Pick(f *frame.Flow, rec *Record) *RealServer {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, addr := l.now(), f.Dst16()
	l.cache.advance(now)
	e := l.cache.get(addr, now)
	if e != nil && l.mayStay(e.server) {
		if rec != nil {
			rec.Beginf("lblc", "%s stays with the server it has", f.Dst())
			rec.Add(e.server, burden(e.server)).Skip = ""
			rec.Choose(e.server)
		}
		return e.server
	}
	s := l.all.first()
	if rec != nil {
		l.record(rec, f, e, s)
	}
	l.remember(e, addr, s, now)
	return s
}

// mayStay reports whether an address may keep server s.
func (l *lblc) mayStay(s *RealServer) bool {
	return l.available(s) && s.Weight() > 0 && !l.overburdened(s)
}

func (l *lblc) remember(e *entry, addr [16]byte, s *RealServer, now time.Duration) {
	switch {
	case s == nil || e != nil && e.server == s:
	case e != nil:
		e.server = s
		l.cache.replaced()
	default:
		l.cache.insert(addr, now).server = s
	}
}

func (l *lblc) record(rec *Record, f *frame.Flow, e *entry, s *RealServer) {
	rec.Beginf("lblc", "%s has no server yet: %s", f.Dst(), l.all.rule)
	if e != nil {
		rec.Beginf("lblc", "%s leaves %s (%s; %s): %s", f.Dst(), e.server.Addr, burden(e.server), l.leaveReason(e.server), l.all.rule)
	}
	l.all.record(rec, s)
}

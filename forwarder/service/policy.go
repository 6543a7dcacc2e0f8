package service

import (
	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// SetPolicy sets what happens to the connections of a service when a real server is
// removed, including servers that have already been removed. It may fail with
// ErrNoSuchService or ErrInvalid.
func (s *Table) SetPolicy(k config.Key, p config.Policy) error {
	return s.change(func() error { return s.setPolicy(k, p) })
}

func (s *Table) setPolicy(k config.Key, p config.Policy) error {
	if err := p.Validate(); err != nil {
		return err
	}
	v, err := s.service(k)
	if err != nil {
		return err
	}
	v = s.editable(v)
	v.Policy = p
	s.applyPolicy(v)
	return nil
}

// applyPolicy applies the policy of a service to its servers, and to those it had.
func (s *Table) applyPolicy(v *Service) {
	for _, server := range v.Servers {
		s.followPolicy(server, v.Policy)
	}
	for key, server := range s.removed {
		if key.service == v.Key {
			s.followPolicy(server, v.Policy)
		}
	}
}

func (s *Table) followPolicy(server *Server, p config.Policy) {
	if old := server.Policy.Load(); old == nil || *old != p {
		server.Policy.Store(&p)
	}
	s.recomputeDrain(server)
}

// Times at which the connections of a server end, besides the ticks.
const (
	drainNever = 0 // unless they end on their own
	drainNow   = 1 // the first tick of all
)

// recomputeDrain works out what the policy means for a changed server: whether workers
// must look at its packets, and when its connections end.
func (s *Table) recomputeDrain(server *Server) {
	var p config.Policy
	if of := server.Policy.Load(); of != nil {
		p = *of
	}
	removed, quiesced := !server.Available(), server.Weight() == 0
	was := server.drainStart
	ends := conntrack.Tick(drainNever)
	switch {
	case p.Drain > 0 && (removed || quiesced):
		if server.drainStart == 0 {
			server.drainStart = s.time()
		}
		ends = server.drainStart + conntrack.Seconds(p.Drain)
	case p.Gone != config.GoneDrop && removed:
		ends = drainNow
	}
	if p.Drain == 0 || !removed && !quiesced {
		server.drainStart = 0
	}
	if server.drainStart != was || removed {
		s.saveServer(server)
	}
	server.drainEnd.Store(uint32(ends))
	server.NeedsPolicy.Store(removed || quiesced && (p.Drain > 0 || p.Reschedule))
	s.updateDraining(server, p, ends)
}

// updateDraining adds a server to the list of those whose connections are to be ended, or
// removes it.
func (s *Table) updateDraining(server *Server, p config.Policy, ends conntrack.Tick) {
	if ends == drainNever || p.Drain == 0 && p.Gone != config.GoneReset {
		delete(s.draining, server)
	} else {
		s.drainSeq++
		s.draining[server] = s.drainSeq
	}
	s.HasDraining.Store(len(s.draining) > 0)
}

// time returns the time of the connection table; a service table without one has no
// time.
func (s *Table) time() conntrack.Tick {
	if s.Clock == nil {
		return drainNow
	}
	return s.Clock()
}

// HasDrainEnd reports whether the time is set at which the connections of the server
// end.
func (s *Server) HasDrainEnd() bool { return s.drainEnd.Load() != drainNever }

// DrainExpired reports whether the connections of the server end now.
func (s *Server) DrainExpired(now conntrack.Tick) bool {
	ends := s.drainEnd.Load()
	return ends != drainNever && uint32(now) >= ends
}

// Reachable reports whether packets of the server's connections still reach it: it
// is configured, or drains.
func (s *Server) Reachable(now conntrack.Tick) bool {
	return s.Available() || uint32(now) < s.drainEnd.Load()
}

// RefusesNew reports whether a template must not send new connections to the server:
// its time to drain is over, or they would be rescheduled at once.
func (s *Server) RefusesNew(proto uint8, now conntrack.Tick) bool {
	if !s.NeedsPolicy.Load() {
		return false
	}
	p := s.Policy.Load()
	return s.DrainExpired(now) || p != nil && p.Reschedule && proto == frame.ProtoUDP
}

// Draining reports whether its connections will be ended.
func (s *Server) Draining(now conntrack.Tick) bool { return s.drainLeft(now) > 0 }

// drainLeft returns how long the server's connections may continue, 0 if no end is set,
// in milliseconds.
func (s *Server) drainLeft(now conntrack.Tick) uint32 {
	if ends := s.drainEnd.Load(); ends > uint32(now) {
		return (ends - uint32(now)) * (1000 / conntrack.TicksPerSecond)
	}
	return 0
}

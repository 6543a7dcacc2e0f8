package service

import (
	"fmt"
	"net/netip"
	"slices"

	"uvs/forwarder/config"
	"uvs/sched"
)

// AddCheck adds a check to a service. It may fail with ErrNoSuchService, ErrCheckExists
// or ErrInvalid.
func (s *Table) AddCheck(k config.Key, c config.Check) error {
	return s.change(func() error { return s.addCheck(k, c) })
}

func (s *Table) addCheck(k config.Key, c config.Check) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	if err := c.ValidateRepeated(v.Key); err != nil {
		return err
	}
	if slices.ContainsFunc(v.Checks, c.SameProbe) {
		return fmt.Errorf("%s %s: %w", k, c, config.ErrCheckExists)
	}
	v = s.editable(v)
	v.Checks = append(slices.Clip(v.Checks), c.Full())
	s.saveService(v)
	return nil
}

// DeleteCheck removes the check of a service that asks what c asks or, with nil, all of
// them. Servers that no check is left to hold are held no longer. It may fail with
// ErrNoSuchService or ErrNoSuchCheck.
func (s *Table) DeleteCheck(k config.Key, c *config.Check) error {
	return s.change(func() error { return s.deleteCheck(k, c) })
}

func (s *Table) deleteCheck(k config.Key, c *config.Check) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(v.Checks), func(x config.Check) bool { return c == nil || c.SameProbe(x) })
	if len(left) == len(v.Checks) {
		return fmt.Errorf("%s: %w", k, config.ErrNoSuchCheck)
	}
	v = s.editable(v)
	v.Checks = left
	s.saveService(v)
	if v.holds() {
		return nil
	}
	for _, server := range v.Servers {
		s.setHeld(v, server, false)
	}
	return nil
}

// holds reports whether a check of the service may hold servers.
func (v *Service) holds() bool {
	return slices.ContainsFunc(v.Checks, func(c config.Check) bool { return c.Act == config.ActHold })
}

// Hold keeps new connections from some servers of a service, as the weight 0 does, and from
// its others no longer, in one change of the table. Weights stay what commands say. It
// returns the servers that were not held before, and those that are held no longer, in the
// order in which they were added. It may fail with ErrNoSuchService.
func (s *Table) Hold(k config.Key, held map[netip.AddrPort]bool) (changed []config.Server, err error) {
	err = s.change(func() error {
		v, err := s.service(k)
		if err != nil {
			return err
		}
		for _, server := range v.Servers {
			if on := held[server.Addr] && v.holds(); on != server.Held() {
				s.setHeld(v, server, on)
				changed = append(changed, *server.Options())
			}
		}
		return nil
	})
	return changed, err
}

func (s *Table) setHeld(v *Service, server *Server, on bool) {
	if server.held.Swap(on) == on {
		return
	}
	server.SetWeight(server.effective(server.Options().Weight))
	s.saveServer(server)
	s.recomputeDrain(server)
	v.Sched.Update(server.RealServer)
}

// Held reports whether a check keeps new connections from the server.
func (s *Server) Held() bool { return s.held.Load() }

// effective returns the weight that counts for a server of a weight.
func (s *Server) effective(weight int32) int32 {
	if s.held.Load() {
		return 0
	}
	return weight
}

// ProbeServer returns the server that connections of probes to a real server belong to: it
// is reached in the same way, and nothing about it is listed, counted or scheduled. It may
// fail with ErrNoSuchService or ErrNoSuchServer.
func (s *Table) ProbeServer(k config.Key, addr netip.AddrPort) (*Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.service(k)
	if err != nil {
		return nil, err
	}
	server, err := s.server(v, addr)
	if err != nil {
		return nil, err
	}
	p := server.probe.Load()
	if p == nil {
		p = s.newProbeServer(server)
		server.probe.Store(p)
	}
	return p, nil
}

func (s *Table) newProbeServer(of *Server) *Server {
	p := &Server{
		RealServer: sched.NewRealServer(s.numbers.next(), of.Addr, 1, 0, 0),
		Key:        of.Key, Counters: newCounters(nil), probes: true,
	}
	p.options.Store(of.Options())
	var none sched.Scheduler = noScheduler{}
	ref := &serviceRef{Counters: newCounters(nil), total: newCounters(nil)}
	ref.sched.Store(&none)
	p.service.Store(ref)
	s.numbers.put(p)
	return p
}

// Probes reports whether the connections of the server are probes of the director itself.
func (s *Server) Probes() bool { return s.probes }

// Probed notes that n more probes of a service that has no such check are under way, or
// fewer. A service that has been removed is left out.
func (s *Table) Probed(k config.Key, n int) {
	_ = s.change(func() error {
		v, err := s.service(k)
		if err != nil || v.Probing+n < 0 {
			return err // it has been edited meanwhile
		}
		s.editable(v).Probing += n
		return nil
	})
}

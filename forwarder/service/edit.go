package service

import (
	"errors"
	"fmt"
	"slices"

	"uvs/forwarder/config"
	"uvs/sched"
)

// Apply runs commands in order and publishes their outcome at once: no packet and no
// listing sees a part of it. It returns an error or nil for each command. With atomic
// either all are carried out or, if one would fail, none: the list then ends with the
// error of that one.
func (s *Table) Apply(commands []config.Command, atomic bool) (errs []error) {
	s.change(func() error {
		if atomic {
			if errs = s.dryRun(commands); errs != nil {
				return nil
			}
		}
		errs = s.runAll(commands, false)
		return nil
	})
	return errs
}

// runAll runs commands; with stop the first error ends it.
func (s *Table) runAll(commands []config.Command, stop bool) []error {
	errs := make([]error, 0, len(commands))
	for _, c := range commands {
		err := s.run(c)
		errs = append(errs, err)
		if err != nil && stop {
			break
		}
	}
	return errs
}

// dryRun runs commands on a copy of what they name in the configuration. It returns
// nil if all succeed, else the results up to the first error.
func (s *Table) dryRun(commands []config.Command) []error {
	copy := New(s.dryRunScheduler())
	copy.Unicast, copy.syncRuns = s.Unicast, s.syncRuns
	for _, c := range commands {
		if c.Service == nil {
			continue
		}
		v := s.byKey[c.Service.Key.Normal()]
		if v == nil || copy.byKey[v.Key] != nil {
			continue
		}
		copy.addService(v.Service)
		for _, server := range v.Servers {
			copy.byKey[v.Key].addDryRun(copy, server.Options())
		}
	}
	errs := copy.runAll(commands, true)
	if len(errs) > 0 && errs[len(errs)-1] != nil {
		return errs
	}
	return nil
}

// addDryRun adds a server that is known to be valid to a service of a dry run.
func (v *Service) addDryRun(s *Table, c *config.Server) {
	server := &Server{RealServer: &sched.RealServer{Addr: c.AddrPort()}, Key: v.Key, Counters: newCounters(nil)}
	server.options.Store(c)
	server.service.Store(v.ref)
	s.servers[serverKey{v.Key, c.AddrPort()}] = server
	v.Servers = append(v.Servers, server)
}

// dryRunScheduler returns a constructor of schedulers that do nothing, for the names that the
// real one accepts.
func (s *Table) dryRunScheduler() NewScheduler {
	known := map[string]error{}
	return func(name string, flags sched.Flags, _ ...sched.Option) (sched.Scheduler, error) {
		err, ok := known[name]
		if !ok {
			_, err = s.newScheduler(name, flags)
			known[name] = err
		}
		return noScheduler{}, err
	}
}

func (s *Table) run(c config.Command) error {
	if err := s.valid(c); err != nil {
		return err
	}
	switch c.Op {
	case config.OpAddService:
		return s.addService(*c.Service)
	case config.OpEditService:
		return s.editService(*c.Service)
	case config.OpDeleteService:
		return s.deleteService(c.Service.Key)
	case config.OpFlush:
		return s.flush()
	case config.OpZero:
		if c.Service == nil {
			return s.zero(nil)
		}
		return s.zero(&c.Service.Key)
	case config.OpAddServer:
		return s.addServer(c.Service.Key, *c.Server)
	case config.OpEditServer:
		return s.editServer(c.Service.Key, *c.Server)
	case config.OpDeleteServer:
		return s.deleteServer(c.Service.Key, c.Server.AddrPort())
	case config.OpAddLocal:
		return s.addLocal(c.Service.Key, c.Local)
	case config.OpSetPolicy:
		return s.setPolicy(c.Service.Key, c.Policy)
	case config.OpSetSynProxy:
		return s.setSynProxy(c.Service.Key, c.SynProxy)
	case config.OpSetVIPRole:
		return s.setVIPRole(c.Service.Key, c.VIPRole)
	case config.OpAddCheck:
		return s.addCheck(c.Service.Key, *c.Check)
	case config.OpDeleteCheck:
		return s.deleteCheck(c.Service.Key, c.Check)
	}
	return s.deleteLocal(c.Service.Key, c.Local)
}

// valid reports what is wrong with a command. If a server's numbers are wrong and its
// service does not exist either, IPVS reports the latter (ip_vs_ctl.c,
// ip_vs_genl_set_cmd).
func (s *Table) valid(c config.Command) error {
	err := c.Validate()
	if errors.Is(err, config.ErrRange) {
		if _, missing := s.service(c.Service.Key); missing != nil {
			return missing
		}
	}
	return err
}

// AddService adds a service. It may fail with ErrServiceExists, ErrNoScheduler
// or ErrInvalid.
func (s *Table) AddService(c config.Service) error {
	return s.change(func() error { return s.addService(c) })
}

func (s *Table) addService(c config.Service) error {
	if err := c.Validate(); err != nil {
		return err
	}
	c.Key = c.Key.Normal()
	if s.byKey[c.Key] != nil {
		return fmt.Errorf("%s: %w", c.Key, config.ErrServiceExists)
	}
	v, err := build(c)
	if err != nil {
		return err
	}
	if v.Sched, err = s.scheduler(&v.Service); err != nil {
		return err
	}
	s.seq++
	v.seq = s.seq
	v.ref = s.newRef()
	v.ref.sched.Store(&v.Sched)
	v.Counters, v.Offer = v.ref.Counters, &v.ref.Offer
	s.set(c.Key, v)
	if c.Policy != (config.Policy{}) {
		s.applyPolicy(v)
	}
	return nil
}

// build returns a service without scheduler, counters and servers.
func build(c config.Service) (*Service, error) {
	mask, err := c.Mask()
	if err != nil {
		return nil, err
	}
	if c.Scheduler == "" {
		c.Scheduler = defaultScheduler
	}
	if c.PE != "" && c.PE != "sip" {
		return nil, fmt.Errorf("persistence engine %q: %w", c.PE, config.ErrNoScheduler)
	}
	c.Local = slices.Clone(c.Local)
	c.Checks = slices.Clone(c.Checks)
	for i := range c.Checks {
		c.Checks[i] = c.Checks[i].Full()
	}
	return &Service{Service: c, Mask: mask}, nil
}

func (s *Table) scheduler(c *config.Service) (sched.Scheduler, error) {
	if c.Scheduler == (noScheduler{}).Name() {
		return noScheduler{}, nil
	}
	scheduler, err := s.newScheduler(c.Scheduler, c.Flags)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", config.ErrNoScheduler, err)
	}
	return scheduler, nil
}

// EditService replaces all that -A says about a service; real servers, local
// addresses, policy, SYN proxy, role of the address, checks and counters stay. The scheduler keeps its state unless another is
// asked for. It may fail with ErrNoSuchService, ErrNoScheduler or ErrInvalid.
func (s *Table) EditService(c config.Service) error {
	return s.change(func() error { return s.editService(c) })
}

func (s *Table) editService(c config.Service) error {
	old, err := s.service(c.Key)
	if err != nil {
		return err
	}
	c.Key = old.Key
	c.Local, c.Policy, c.SynProxy, c.VIPRole, c.Checks = old.Local, old.Policy, old.SynProxy, old.VIPRole, old.Checks
	if err := c.Validate(); err != nil {
		return err
	}
	fresh, err := build(c)
	if err != nil {
		return err
	}
	fresh.seq, fresh.ref, fresh.Counters, fresh.Offer = old.seq, old.ref, old.Counters, old.Offer
	fresh.Servers = slices.Clip(old.Servers)
	if err := s.keepScheduler(old, fresh); err != nil {
		return err
	}
	s.set(c.Key, fresh)
	return nil
}

// keepScheduler gives fresh, an edited old, its scheduler.
func (s *Table) keepScheduler(old, fresh *Service) (err error) {
	if fresh.Scheduler == old.Scheduler {
		fresh.Sched = old.Sched
		sched.SetFlags(fresh.Sched, fresh.Flags)
		return nil
	}
	if fresh.Sched, err = s.scheduler(&fresh.Service); err != nil {
		return err
	}
	servers := make([]*sched.RealServer, len(fresh.Servers))
	for i, server := range fresh.Servers {
		servers[i] = server.RealServer
	}
	sched.AddAll(fresh.Sched, servers)
	fresh.ref.sched.Store(&fresh.Sched)
	return nil
}

// DeleteService removes a service with its servers. Their connections stay. It
// may fail with ErrNoSuchService.
func (s *Table) DeleteService(k config.Key) error {
	return s.change(func() error { return s.deleteService(k) })
}

func (s *Table) deleteService(k config.Key) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	s.removeService(v)
	return nil
}

func (s *Table) removeService(v *Service) {
	for _, server := range v.Servers {
		s.removeServer(v, server)
		server.removedIn = s.edits
	}
	s.set(v.Key, nil)
}

// Flush removes all services, as -C.
func (s *Table) Flush() error { return s.change(s.flush) }

func (s *Table) flush() error {
	for _, v := range s.byKey {
		s.removeService(v)
	}
	return nil
}

// Zero zeroes the counters of one service and its servers or, without a key,
// of all and the totals. Connection counts stay. It may fail with
// ErrNoSuchService.
func (s *Table) Zero(k *config.Key) error {
	return s.change(func() error { return s.zero(k) })
}

func (s *Table) zero(k *config.Key) error {
	if k != nil {
		v, err := s.service(*k)
		if err != nil {
			return err
		}
		v.zero()
		return nil
	}
	for _, v := range s.byKey {
		v.zero()
	}
	s.Total.Zero()
	return nil
}

func (v *Service) zero() {
	v.Counters.Zero()
	for _, server := range v.Servers {
		server.Counters.Zero()
	}
}

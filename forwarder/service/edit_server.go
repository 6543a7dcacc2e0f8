package service

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"uvs/forwarder/config"
	"uvs/sched"
)

// AddServer adds a real server to a service. One that was removed and is still
// remembered comes back with its number, its connections and, if the service is
// the same, its counters. It may fail with ErrNoSuchService, ErrServerExists,
// ErrRange or ErrInvalid.
func (s *Table) AddServer(k config.Key, c config.Server) error {
	return s.change(func() error { return s.addServer(k, c) })
}

func (s *Table) addServer(k config.Key, c config.Server) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	if err := s.check(v, c); err != nil {
		return err
	}
	key := serverKey{v.Key, c.AddrPort()}
	if s.servers[key] != nil {
		return fmt.Errorf("%s %s: %w", k, key.addr, config.ErrServerExists)
	}
	if old := s.removed[key]; old != nil && !v.holds() {
		old.held.Store(false)
	}
	server, err := s.restoreOrCreate(key, c)
	if err != nil {
		return err
	}
	if server.lastService != v.ref {
		server.Counters.Zero()
	}
	s.servers[key] = server
	s.seq++
	server.Seq = s.seq
	server.lastService = v.ref
	server.service.Store(v.ref) // first, so that Count misses no change the scheduler has not read
	v = s.editable(v)
	v.Servers = append(v.Servers, server)
	s.saveServer(server)
	s.followPolicy(server, v.Policy)
	v.Sched.Add(server.RealServer)
	s.noteServer(ServerAdded, v, server)
	return nil
}

// check applies the rules for servers of v that hold for -a and -e.
func (s *Table) check(v *Service, c config.Server) error {
	if config.FamilyOf(c.Addr) != v.Family && !c.Method.Encapsulates() {
		return &config.FieldError{Field: "address", Problem: "another family than the service's needs tunnelling"}
	}
	if config.FamilyOf(c.Addr) != v.Family && s.syncRuns != nil && s.syncRuns() {
		return &config.FieldError{Field: "address", Problem: "the synchronization protocol cannot express another family than the service's"}
	}
	if err := c.Validate(); err != nil || !v.SynProxy {
		return err
	}
	return underSynProxy(&c)
}

func (s *Table) restoreOrCreate(key serverKey, c config.Server) (*Server, error) {
	if server := s.removed[key]; server != nil {
		s.endReadded(server)
		delete(s.removed, key)
		server.Revive(server.effective(c.Weight), c.Upper, c.Lower)
		server.WasMasq.Store(false)
		server.setOptions(&c)
		return server, nil
	}
	if !s.unicast(c.Addr) {
		return nil, &config.FieldError{Field: "address", Problem: fmt.Sprintf("%s is not unicast", c.Addr)}
	}
	id := s.numbers.next()
	server := &Server{
		RealServer: sched.NewRealServer(id, key.addr, c.Weight, c.Upper, c.Lower),
		Key:        key.service,
		Counters:   newCounters(s.state),
	}
	server.setOptions(&c)
	s.numbers.put(server)
	return server, nil
}

// endReadded ends the connections of a server that is added again in the same change
// that removed it with its service, if expire_nodest_conn asks for that. IPVS does so
// one clock tick after the removal (ip_vs_ctl.c, ip_vs_enqueue_expire_nodest_conns), so
// there chance decides which comes first. Here a server that was removed with its
// service is too late, and one that was removed alone is back in time.
func (s *Table) endReadded(server *Server) {
	if s.EndRemoved != nil && server.removedIn == s.edits && s.endedAt != s.edits {
		s.endedAt = s.edits
		s.EndRemoved()
	}
}

// unicast reports whether a real server may have the address: by the kernel's rules any
// but 0.0.0.0, multicast, broadcast, and IPv6 link-local and mapped ones (ip_vs_ctl.c,
// ip_vs_new_dest; inet_addr_type, ipv6_addr_type).
func (s *Table) unicast(a netip.Addr) bool {
	switch {
	case a.IsMulticast(), a.IsUnspecified(), a == Broadcast:
		return false
	case a.Is6() && (a.IsLinkLocalUnicast() || a.Is4In6()):
		return false
	}
	return s.Unicast == nil || s.Unicast(a)
}

// Broadcast is the limited broadcast address (RFC 919 section 7).
var Broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (s *Server) configure(c config.Server) {
	s.SetWeight(s.effective(c.Weight))
	s.SetThresholds(c.Upper, c.Lower)
	s.setOptions(&c)
}

// EditServer replaces all that -a says about a real server. Established
// connections keep their method. It may fail with ErrNoSuchService,
// ErrNoSuchServer, ErrRange or ErrInvalid.
func (s *Table) EditServer(k config.Key, c config.Server) error {
	return s.change(func() error { return s.editServer(k, c) })
}

func (s *Table) editServer(k config.Key, c config.Server) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	if err := s.check(v, c); err != nil {
		return err
	}
	server, err := s.server(v, c.AddrPort())
	if err != nil {
		return err
	}
	before := server.Options().Weight
	server.configure(c)
	s.noteWeight(v, server, before)
	server.noteOverload()
	s.saveServer(server)
	s.recomputeDrain(server)
	v.Sched.Update(server.RealServer)
	s.editable(v) // so that Changed reports it
	return nil
}

func (s *Table) server(v *Service, addr netip.AddrPort) (*Server, error) {
	server := s.servers[serverKey{v.Key, addr}]
	if server == nil {
		return nil, fmt.Errorf("%s %s: %w", v.Key, addr, config.ErrNoSuchServer)
	}
	return server, nil
}

// DeleteServer removes a real server. Its connections stay, but their packets are
// dropped until it comes back, unless the service's policy says otherwise. It may fail
// with ErrNoSuchService or ErrNoSuchServer.
func (s *Table) DeleteServer(k config.Key, addr netip.AddrPort) error {
	return s.change(func() error { return s.deleteServer(k, addr) })
}

func (s *Table) deleteServer(k config.Key, addr netip.AddrPort) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	server, err := s.server(v, addr)
	if err != nil {
		return err
	}
	s.removeServer(v, server)
	v = s.editable(v)
	i := slices.Index(v.Servers, server)
	v.Servers = slices.Delete(slices.Clone(v.Servers), i, i+1)
	return nil
}

// removeServer moves a server of v to the removed ones.
func (s *Table) removeServer(v *Service, server *Server) {
	s.noteServer(ServerGone, v, server)
	v.Sched.Remove(server.RealServer)
	server.service.Store(nil)
	server.locals = v.Local
	server.idle = time.Time{}
	key := serverKey{v.Key, server.Addr}
	delete(s.servers, key)
	s.removed[key] = server
	s.saveServer(server)
	s.recomputeDrain(server)
	s.ServerRemoved.Store(true)
}

// AddLocal adds a local address for FULLNAT to a service. It may fail with
// ErrNoSuchService, ErrLocalExists or ErrInvalid.
func (s *Table) AddLocal(k config.Key, a netip.Addr) error {
	return s.change(func() error { return s.addLocal(k, a) })
}

func (s *Table) addLocal(k config.Key, a netip.Addr) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	if config.FamilyOf(a) != v.Family || !s.unicast(a) {
		return &config.FieldError{Field: "local_address", Problem: fmt.Sprintf("%s is not a unicast address of the service's family", a)}
	}
	if slices.Contains(v.Local, a) {
		return fmt.Errorf("%s %s: %w", k, a, config.ErrLocalExists)
	}
	v = s.editable(v)
	v.Local = append(slices.Clip(v.Local), a)
	return nil
}

// DeleteLocal removes a local address from a service; connections keep it. It may fail
// with ErrNoSuchService or ErrNoSuchLocal.
func (s *Table) DeleteLocal(k config.Key, a netip.Addr) error {
	return s.change(func() error { return s.deleteLocal(k, a) })
}

func (s *Table) deleteLocal(k config.Key, a netip.Addr) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	i := slices.Index(v.Local, a)
	if i < 0 {
		return fmt.Errorf("%s %s: %w", k, a, config.ErrNoSuchLocal)
	}
	v = s.editable(v)
	v.Local = slices.Delete(slices.Clone(v.Local), i, i+1)
	return nil
}

package service

import (
	"uvs/conntrack"
	"uvs/forwarder/config"
)

// DrainedServers returns the draining servers whose connections end now.
func (s *Table) DrainedServers(now conntrack.Tick) map[*Server]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all map[*Server]uint64
	for server, n := range s.draining {
		if !server.DrainExpired(now) {
			continue
		}
		if all == nil {
			all = map[*Server]uint64{}
		}
		all[server] = n
	}
	return all
}

// FinishDrain forgets draining servers that have no more connections to end, unless
// they were changed meanwhile. It reports whether the service of one of them has been
// removed too.
func (s *Table) FinishDrain(all map[*Server]uint64) (last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for server, n := range all {
		if s.draining[server] == n {
			delete(s.draining, server)
			last = last || s.byKey[server.Key] == nil
		}
	}
	s.HasDraining.Store(len(s.draining) > 0)
	return last
}

// DrainingServices returns the services, by key and local addresses, that were removed while
// connections of their servers drain or are to be ended: until then packets to these
// addresses belong to the director.
func (s *Table) DrainingServices() []config.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []config.Service
	known := map[config.Key]bool{}
	for server := range s.draining {
		if s.byKey[server.Key] == nil && !server.unused() && !known[server.Key] {
			known[server.Key] = true
			all = append(all, config.Service{Key: server.Key, Local: server.locals})
		}
	}
	return all
}

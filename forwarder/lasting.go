package forwarder

import (
	"maps"
	"net/netip"
	"slices"

	"uvs/conntrack"
)

// What the plan covers follows from the connections that live, not from the
// configuration alone: servers that were removed or have another method now, and
// local addresses that no service has any more.

// held returns the removed servers that are remembered: their replies are
// translated until their last connection has ended.
func (s *Services) held() []*Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.removed))
}

// addLasting notes the local addresses of FULLNAT that only connections have.
func (p *plan) addLasting(ports *conntrack.Ports) {
	for a := range ports.InUse() {
		if addr := netip.AddrFrom16(a).Unmap(); !slices.Contains(p.locals, addr) {
			p.lasting[a] = true
			p.owned[a] = true
			p.locals = append(p.locals, addr)
		}
	}
}

// outdated reports whether the last plan covers what no connection needs any more,
// or lacks what one needs that began meanwhile.
func (fw *Forwarder) outdated() bool {
	return fw.services.miscovers() || fw.settings.Load().misses(fw.locals.InUse())
}

// miscovers reports whether the last plan is wrong about the replies of a server.
func (s *Services) miscovers() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range []map[serverKey]*Server{s.servers, s.removed} {
		for _, server := range all {
			if server.covered.Load() != server.Answers() {
				return true
			}
		}
	}
	return false
}

// misses reports whether a local address in use is not covered, or one is covered
// only for connections that have ended.
func (s *settings) misses(used map[[16]byte]bool) bool {
	for a := range s.lasting {
		if !used[a] {
			return true
		}
	}
	for a := range used {
		if !s.owned[a] && !s.shared[a] {
			return true
		}
	}
	return false
}

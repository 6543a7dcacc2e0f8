package service

import (
	"cmp"
	"maps"
	"slices"

	"uvs/forwarder/config"
)

// RemovedServers returns the removed servers that are remembered: their replies are
// translated until their last connection has ended.
func (s *Table) RemovedServers() []*Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.removed), func(a, b *Server) int { return cmp.Compare(a.ID, b.ID) })
}

// Orphan is an endpoint of connections that no service has any longer: that of a
// removed service, or of the data connections of an FTP service that is no longer
// persistent.
type Orphan struct {
	Key  config.Key
	Data bool
}

// Orphans returns the endpoints that only connections still have: their packets must
// not reach the host, which would reset them. Without any service all packets reach the
// host.
func (s *Table) Orphans() map[Orphan]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[Orphan]bool{}
	for _, servers := range []map[serverKey]*Server{s.servers, s.removed} {
		for _, server := range servers {
			if len(s.byKey) == 0 || server.Active()+server.Inactive() == 0 {
				continue
			}
			v := s.byKey[server.Key]
			if v == nil {
				all[Orphan{server.Key, false}] = true
			}
			if server.FTPData.Load() && (v == nil || v.Persistent == 0) {
				all[Orphan{server.Key, true}] = true
			}
		}
	}
	return all
}

// RepliesOutdated reports whether the last plan is out of date about the replies of a server.
func (s *Table) RepliesOutdated() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, all := range []map[serverKey]*Server{s.servers, s.removed} {
		for _, server := range all {
			if server.RepliesGuarded.Load() != server.HasReplies() {
				return true
			}
		}
	}
	return false
}

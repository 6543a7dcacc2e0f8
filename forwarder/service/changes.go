package service

import "uvs/forwarder/config"

// Turn is what an administrator did with a real server.
type Turn uint8

// What can be done with a real server, apart from a change of its settings.
const (
	ServerAdded    Turn = iota
	ServerGone          // removed, alone or with its service
	ServerQuiesced      // its weight became 0
	ServerResumed       // its weight is 0 no longer
	turns
)

// ServerChange is a Turn of one server.
type ServerChange struct {
	Turn   Turn
	Key    config.Key // of the service
	Server config.Server
}

// changesListed is how many changes of servers are listed at a time.
const changesListed = 16

// ServerChanges are the turns of servers in one change of the table: the first ones, and how
// many there are of each.
type ServerChanges struct {
	First []ServerChange
	Count [turns]int
}

// noteServer takes note of what is done with a server, if somebody wants to know. The
// caller holds the lock.
func (s *Table) noteServer(t Turn, v *Service, server *Server) {
	if s.OnServers == nil {
		return
	}
	s.changes.Count[t]++
	if len(s.changes.First) < changesListed {
		s.changes.First = append(s.changes.First, ServerChange{t, v.Key, *server.Options()})
	}
}

// noteWeight takes note of a server that is quiesced or resumed.
func (s *Table) noteWeight(v *Service, server *Server, before int32) {
	switch now := server.Options().Weight; {
	case before > 0 && now == 0:
		s.noteServer(ServerQuiesced, v, server)
	case before == 0 && now > 0:
		s.noteServer(ServerResumed, v, server)
	}
}

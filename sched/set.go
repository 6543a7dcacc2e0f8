package sched

import "time"

// set is the servers that lblcr uses for one destination address. A small set is
// walked; a set of more than setWalk members has a tournament tree.
type set struct {
	members []*RealServer // the one added last is the first in IPVS's order
	changed time.Duration
	index   *setIndex // nil for up to setWalk members
}

const setWalk = 32

// setIndex is the tournament tree of a large set. It is not updated at each change,
// because a server may be in thousands of sets: it catches up at the next pick.
type setIndex struct {
	least
	seen uint64 // number of changes it has taken in
}

// changes are the last servers that were added, removed, edited or counted.
type changes struct {
	ring [1024]*RealServer
	n    uint64
}

func (c *changes) note(s *RealServer) {
	c.ring[c.n%uint64(len(c.ring))] = s
	c.n++
}

// emptied returns an empty set that keeps the memory.
func (s *set) emptied() set {
	clear(s.members)
	return set{members: s.members[:0]}
}

func (s *set) has(server *RealServer) bool {
	if s.index != nil {
		_, in := s.index.list.slots[server]
		return in
	}
	for _, m := range s.members {
		if m == server {
			return true
		}
	}
	return false
}

func (s *set) remove(server *RealServer) {
	for i, m := range s.members {
		if m == server {
			s.members = append(s.members[:i], s.members[i+1:]...)
			break
		}
	}
	if s.index != nil {
		s.index.remove(server)
	}
}

// insert adds a server unless it is there.
func (l *lblcr) insert(s *set, server *RealServer, now time.Duration) {
	if s.has(server) {
		return
	}
	s.members = append(s.members, server)
	s.changed = now
	switch {
	case s.index != nil:
		s.index.add(server)
	case len(s.members) > setWalk:
		s.index = l.newIndex(s.members)
	}
}

func (l *lblcr) newIndex(members []*RealServer) *setIndex {
	i := &setIndex{least: least{measure: measure{load: l.load}}, seen: l.changes.n}
	for _, m := range members {
		i.add(m)
	}
	return i
}

// load is wlc's load for a server of the service, infinite for a removed one.
func (l *lblcr) load(s *RealServer) load {
	if !l.available(s) {
		return load{}
	}
	return perWeight(s)
}

// leastLoaded returns the least loaded member that can take a connection.
func (l *lblcr) leastLoaded(s *set) *RealServer {
	if s.index != nil {
		l.catchUp(s.index)
		return s.index.first()
	}
	var best contender
	for i := len(s.members) - 1; i >= 0; i-- {
		if m := s.members[i]; m.Eligible() {
			best = best.merge(contender{l.load(m), int32(i)})
		}
	}
	if best.load.per == 0 {
		return nil
	}
	return s.members[best.slot]
}

// catchUp repairs the index for the servers changed since the last pick, or rebuilds
// it if they are too many.
func (l *lblcr) catchUp(i *setIndex) {
	missed := l.changes.n - i.seen
	if missed > uint64(min(len(l.changes.ring), i.tree.size())) {
		i.tree.build(i.tree.size(), i.leaf)
	} else {
		for n := i.seen; n < l.changes.n; n++ {
			i.count(l.changes.ring[n%uint64(len(l.changes.ring))])
		}
	}
	i.seen = l.changes.n
}

// mostLoaded returns the most loaded member with a weight above 0, eligible or not,
// or nil.
func mostLoaded(s *set) *RealServer {
	var most *RealServer
	for i := len(s.members) - 1; i >= 0; i-- {
		m := s.members[i]
		if m.Weight() > 0 && (most == nil || perWeight(most).less(perWeight(m))) {
			most = m
		}
	}
	return most
}

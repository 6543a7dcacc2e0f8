package service

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"

	"uvs/forwarder/config"
	"uvs/forwarder/state"
	"uvs/sched"
)

// Restore makes the table what the state says, and keeps it there from then on. It comes
// before first use, after Clock and Unicast are set; a nil State changes nothing. A
// state that cannot be true is a *state.Refused: the table is of no use then.
func (s *Table) Restore(st *state.State) error {
	if st == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	saved, err := readSaved(st)
	if err != nil {
		return err
	}
	if err := st.UseSlots(saved.slots); err != nil {
		return err
	}
	s.state = st
	if saved.director == nil {
		s.Total = newCounters(st)
		s.keep(state.Director, state.Totals, savedDirector{s.Total.number})
		s.save()
		return nil
	}
	if s.Total, err = s.countersAt(saved.director.Counters); err != nil {
		return err
	}
	homes, err := s.restoreServices(saved.services)
	if err != nil {
		return err
	}
	if err := s.restoreServers(saved.servers, homes); err != nil {
		return err
	}
	s.restoreMarks(saved.marks)
	s.unsaved.reset()
	return nil
}

// saved are the records of a state.
type saved struct {
	director *savedDirector
	services map[uint32]*savedService
	servers  map[uint32]*savedServer
	marks    map[uint32]*config.MarkRule
	slots    []uint32
}

func readSaved(st *state.State) (*saved, error) {
	var r saved
	if ok, err := readOne(st, state.Key{Kind: state.Director, Number: state.Totals}, &r.director); !ok || err != nil {
		return &r, err
	}
	var err error
	if r.services, err = readKind[savedService](st, state.Service); err != nil {
		return nil, err
	}
	if r.servers, err = readKind[savedServer](st, state.Server); err != nil {
		return nil, err
	}
	if r.marks, err = readKind[config.MarkRule](st, state.Mark); err != nil {
		return nil, err
	}
	r.slots = append(r.slots, r.director.Counters)
	for _, v := range r.services {
		r.slots = append(r.slots, v.Counters)
	}
	for _, server := range r.servers {
		r.slots = append(r.slots, server.Counters)
	}
	return &r, nil
}

func readKind[T any](st *state.State, kind state.Kind) (map[uint32]*T, error) {
	records, err := st.Records(kind)
	if err != nil {
		return nil, err
	}
	all := make(map[uint32]*T, len(records))
	for _, r := range records {
		value := new(T)
		if err := unmarshal(r.Value, value); err != nil {
			return nil, err
		}
		all[r.Number] = value
	}
	return all, nil
}

// readOne reads the value of a key, and reports whether it has one.
func readOne(st *state.State, k state.Key, into any) (bool, error) {
	text := st.Record(k)
	if text == nil {
		return false, nil
	}
	return true, unmarshal(text, into)
}

// RestoreSetting reads what SaveSetting wrote in an earlier process. It changes nothing
// if there is nothing.
func (s *Table) RestoreSetting(number uint32, into any) error {
	_, err := readOne(s.state, state.Key{Kind: state.Setting, Number: number}, into)
	return err
}

// unmarshal reads a record. Its error is a *state.Refused.
func unmarshal(text []byte, into any) error {
	err := json.Unmarshal(text, into, json.RejectUnknownMembers(true))
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return refuse("made by a newer uvs: %v", err)
	case err != nil:
		return refuse("%v", err)
	}
	return nil
}

func refuse(why string, args ...any) error {
	return &state.Refused{File: "config", Why: fmt.Sprintf(why, args...)}
}

func (s *Table) countersAt(number uint32) (*Counters, error) {
	c := &Counters{number: number, at: s.state.SlotAt(number)}
	if !c.believable() {
		return nil, &state.Refused{File: "counters", Why: fmt.Sprintf("those of number %d cannot be true", number)}
	}
	return c, nil
}

// restoreServices makes the services, still without servers, and returns them by the
// number of their record.
func (s *Table) restoreServices(all map[uint32]*savedService) (map[uint32]*Service, error) {
	homes := map[uint32]*Service{}
	for n, from := range all {
		for i, c := range from.Checks { // an earlier uvs let them take longer
			c = c.Full()
			c.Timeout = min(c.Timeout, c.Interval)
			from.Checks[i] = c
		}
		if err := from.Validate(); err != nil {
			return nil, refuse("service %s: %v", from.Key, err)
		}
		from.Key = from.Key.Normal()
		if s.byKey[from.Key] != nil {
			return nil, refuse("service %s is there twice", from.Key)
		}
		v, err := build(from.Service)
		if err == nil {
			v.Sched, err = s.scheduler(&v.Service)
		}
		if err != nil {
			return nil, refuse("service %s: %v", from.Key, err)
		}
		counters, err := s.countersAt(from.Counters)
		if err != nil {
			return nil, err
		}
		v.seq = from.Seq
		v.ref = &serviceRef{Counters: counters, number: n, total: s.Total}
		v.ref.Offer.keepIn(counters.at)
		v.ref.sched.Store(&v.Sched)
		v.Counters, v.Offer = counters, &v.ref.Offer
		s.seq = max(s.seq, v.seq)
		s.unsaved.refs = max(s.unsaved.refs, n)
		s.set(from.Key, v)
		homes[n] = v
	}
	return homes, nil
}

// restoreServers makes the servers, in the order in which they were added.
func (s *Table) restoreServers(all map[uint32]*savedServer, homes map[uint32]*Service) error {
	type numbered struct {
		id sched.ID
		*savedServer
	}
	order := make([]numbered, 0, len(all))
	for id, from := range all {
		order = append(order, numbered{sched.ID(id), from})
		s.numbers.used = max(s.numbers.used, min(sched.ID(id), maxServers))
	}
	slices.SortFunc(order, func(a, b numbered) int { return cmp.Compare(a.Seq, b.Seq) })
	lists := map[*Service][]*sched.RealServer{}
	for _, n := range order {
		id, from := n.id, n.savedServer
		v := homes[from.Home]
		of := from.Service
		if v != nil {
			of = &v.Key
		}
		if of == nil || v == nil && !from.Removed {
			return refuse("server %d has no service", id)
		}
		server, err := s.restoreServer(id, of.Normal(), from)
		if err != nil {
			return err
		}
		key := serverKey{server.Key, server.Addr}
		if s.servers[key] != nil || s.removed[key] != nil {
			return refuse("server %s of %s is there twice", server.Addr, server.Key)
		}
		if from.Removed {
			s.restoreRemoved(server, from, v)
			continue
		}
		s.servers[key] = server
		server.lastService = v.ref
		server.service.Store(v.ref)
		v.Servers = append(v.Servers, server)
		lists[v] = append(lists[v], server.RealServer)
		server.drainStart = from.Left
		s.followPolicy(server, v.Policy)
	}
	for v, list := range lists {
		sched.AddAll(v.Sched, list)
	}
	s.freeNumbers()
	return nil
}

// maxServers is more than a director can have: numbers are used again.
const maxServers = 1 << 22

func (s *Table) restoreServer(id sched.ID, of config.Key, from *savedServer) (*Server, error) {
	if id == 0 || id > maxServers {
		return nil, refuse("there is no server %d", id)
	}
	if err := from.Server.Validate(); err != nil {
		return nil, refuse("server %d: %v", id, err)
	}
	counters, err := s.countersAt(from.Counters)
	if err != nil {
		return nil, err
	}
	server := &Server{
		RealServer: sched.NewRealServer(id, from.AddrPort(), from.LastWeight, from.Upper, from.Lower),
		Key:        of,
		Counters:   counters,
		Seq:        from.Seq,
	}
	server.held.Store(from.Held)
	server.SetWeight(server.effective(from.Weight))
	server.Resume(counters.at[slotOverload] != 0)
	server.setOptions(&from.Server)
	server.WasMasq.Store(from.WasMasq)
	s.seq = max(s.seq, from.Seq)
	s.numbers.put(server)
	return server, nil
}

// restoreRemoved remembers a removed server; v is the service it was in, nil if that is
// gone too.
func (s *Table) restoreRemoved(server *Server, from *savedServer, v *Service) {
	server.lastService = &serviceRef{number: from.Home}
	if v != nil {
		server.lastService = v.ref
	}
	server.locals, server.drainStart = from.Local, from.Left
	s.removed[serverKey{server.Key, server.Addr}] = server
	s.ServerRemoved.Store(true)
	s.unsaved.refs = max(s.unsaved.refs, from.Home)
	if from.Policy != nil {
		s.followPolicy(server, *from.Policy)
		return
	}
	s.recomputeDrain(server)
}

// freeNumbers finds the numbers of servers that are not in use.
func (s *Table) freeNumbers() {
	for id := sched.ID(1); id < s.numbers.used; id++ {
		if s.numbers.server(id) == nil {
			s.numbers.free = append(s.numbers.free, id)
		}
	}
}

func (s *Table) restoreMarks(all map[uint32]*config.MarkRule) {
	for _, n := range slices.Sorted(maps.Keys(all)) {
		s.marks = append(s.marks, *all[n])
		s.markNumbers = append(s.markNumbers, n)
		s.markChanges++
	}
}

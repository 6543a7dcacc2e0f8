package service

import (
	"fmt"
	"net/netip"

	"github.com/go-json-experiment/json"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/state"
)

// What the state keeps of a Table, as JSON. A field that a build does not know makes it
// refuse the state, so a new setting needs no more than a name here, and omitempty or
// omitzero.
type (
	savedDirector struct {
		Counters uint32 `json:"counters"` // number of the Slot
	}
	savedService struct {
		config.Service
		Seq      uint64 `json:"seq"`
		Counters uint32 `json:"counters"`
	}
	savedServer struct {
		Service config.Key `json:"service"`
		config.Server
		Seq        uint64         `json:"seq"`
		Counters   uint32         `json:"counters"`
		Home       uint32         `json:"home"` // record of the service it was last in
		Removed    bool           `json:"removed,omitempty"`
		LastWeight int32          `json:"last_weight,omitempty"`
		WasMasq    bool           `json:"was_masq,omitempty"`
		Left       conntrack.Tick `json:"left,omitempty"`
		// Of a removed server's service.
		Policy *config.Policy `json:"policy,omitempty"`
		Local  []netip.Addr   `json:"local_addresses,omitempty"`
	}
)

// unsaved is what changed since the last commit, and what is to be freed after a while.
type unsaved struct {
	changes  []state.Change
	services map[*serviceRef]*Service
	servers  map[*Server]struct{}
	homes    uint32   // the last number of a service's record
	freed    []uint32 // Slots of services that are gone, for now and for after the next sweep
	freeing  []uint32
}

// newRef returns what a new service keeps across edits.
func (s *Table) newRef() *serviceRef {
	s.unsaved.homes++
	return &serviceRef{Counters: newCounters(s.state), number: s.unsaved.homes, total: s.Total}
}

func (s *Table) saveService(v *Service) {
	if s.state == nil {
		return
	}
	if s.unsaved.services == nil {
		s.unsaved.services = map[*serviceRef]*Service{}
	}
	s.unsaved.services[v.ref] = v
}

func (s *Table) saveServer(server *Server) {
	if s.state == nil {
		return
	}
	if s.unsaved.servers == nil {
		s.unsaved.servers = map[*Server]struct{}{}
	}
	s.unsaved.servers[server] = struct{}{}
}

// forgetService takes a service out of the state. Its counters are in use a little
// longer: a worker may be about to add to them.
func (s *Table) forgetService(ref *serviceRef) {
	if s.state == nil {
		return
	}
	delete(s.unsaved.services, ref)
	s.forget(state.Service, ref.number)
	s.unsaved.freed = append(s.unsaved.freed, ref.Counters.number)
}

// forgetServer takes a server that nothing refers to out of the state.
func (s *Table) forgetServer(server *Server) {
	if s.state == nil {
		return
	}
	s.forget(state.Server, uint32(server.ID))
	s.unsaved.freed = append(s.unsaved.freed, server.Counters.number)
}

// freeCounters frees the counters that were forgotten before the last sweep.
func (s *Table) freeCounters() {
	for _, n := range s.unsaved.freeing {
		s.state.FreeSlot(n)
	}
	s.unsaved.freeing, s.unsaved.freed = s.unsaved.freed, s.unsaved.freeing[:0]
}

// save commits what changed, as one.
func (s *Table) save() {
	if s.state == nil {
		return
	}
	for ref, v := range s.unsaved.services {
		s.keep(state.Service, ref.number, &savedService{v.Service, v.seq, ref.Counters.number})
	}
	for server := range s.unsaved.servers {
		s.keep(state.Server, uint32(server.ID), server.saved())
	}
	clear(s.unsaved.services)
	clear(s.unsaved.servers)
	s.state.Commit(s.unsaved.changes...)
	s.unsaved.changes = nil
}

func (s *Server) saved() *savedServer {
	saved := &savedServer{
		Service: s.Key, Server: *s.Options(), Seq: s.Seq,
		Counters: s.Counters.number, Home: s.lastService.number,
		LastWeight: s.LastWeight(), WasMasq: s.WasMasq.Load(), Left: s.drainStart,
	}
	if !s.Available() {
		saved.Removed = true
		saved.Policy, saved.Local = s.Policy.Load(), s.locals
	}
	return saved
}

// keep gives a record its value with the next save, and forget takes it away.
func (s *Table) keep(kind state.Kind, number uint32, value any) {
	if s.state != nil {
		s.unsaved.changes = append(s.unsaved.changes, change(kind, number, value))
	}
}

func (s *Table) forget(kind state.Kind, number uint32) {
	if s.state != nil {
		s.unsaved.changes = append(s.unsaved.changes, state.Change{Key: state.Key{Kind: kind, Number: number}})
	}
}

func change(kind state.Kind, number uint32, value any) state.Change {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("service: %T: %v", value, err)) // all of them are plain data
	}
	return state.Change{Key: state.Key{Kind: kind, Number: number}, Value: text}
}

// SaveSetting keeps a setting of the engine, as JSON, under one of the numbers that
// package state lists.
func (s *Table) SaveSetting(number uint32, value any) {
	if s.state != nil {
		s.state.Commit(change(state.Setting, number, value))
	}
}

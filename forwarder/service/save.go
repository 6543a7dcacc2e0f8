package service

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

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
		config.Server
		Seq        uint64         `json:"seq"`
		Counters   uint32         `json:"counters"`
		Home       uint32         `json:"home"` // record of the service it was last in
		Removed    bool           `json:"removed,omitempty"`
		LastWeight int32          `json:"last_weight,omitempty"`
		WasMasq    bool           `json:"was_masq,omitempty"`
		Left       conntrack.Tick `json:"left,omitempty"`
		Held       bool           `json:"held,omitempty"`
		// Of a removed server's service, which may be gone, too.
		Service *config.Key    `json:"service,omitempty"`
		Policy  *config.Policy `json:"policy,omitempty"`
		Local   []netip.Addr   `json:"local_addresses,omitempty"`
	}
)

// unsaved is what changed since the last commit, and what is to be freed after a while.
type unsaved struct {
	changes  []state.Change
	text     []byte        // of their values
	services []*serviceRef // whose dirty is set
	servers  []*Server
	refs     uint32   // the last number of a service's record
	freed    []uint32 // Slots of services that are gone, for now and for after the next sweep
	freeing  []uint32
}

// newRef returns what a new service keeps across edits.
func (s *Table) newRef() *serviceRef {
	s.unsaved.refs++
	ref := &serviceRef{Counters: newCounters(s.state), number: s.unsaved.refs, total: s.Total}
	ref.Offer.keepIn(ref.Counters.at)
	return ref
}

func (s *Table) saveService(v *Service) {
	if s.state != nil && !v.ref.dirty {
		v.ref.dirty = true
		s.unsaved.services = append(s.unsaved.services, v.ref)
	}
	v.ref.latest = v
}

func (s *Table) saveServer(server *Server) {
	if s.state != nil && !server.dirty {
		server.dirty = true
		s.unsaved.servers = append(s.unsaved.servers, server)
	}
}

// forgetService takes a service out of the state. Its counters are in use a little
// longer: a worker may be about to add to them.
func (s *Table) forgetService(ref *serviceRef) {
	if s.state == nil {
		return
	}
	ref.latest = nil
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
	for _, ref := range s.unsaved.services {
		if v := ref.latest; v != nil {
			s.keep(state.Service, ref.number, &savedService{v.Service, v.seq, ref.Counters.number})
		}
	}
	for _, server := range s.unsaved.servers {
		from := len(s.unsaved.text)
		saved := server.saved()
		s.unsaved.text = saved.appendTo(s.unsaved.text)
		s.unsaved.changes = append(s.unsaved.changes, state.Change{
			Key: state.Key{Kind: state.Server, Number: uint32(server.ID)}, Value: s.unsaved.text[from:],
		})
	}
	s.state.Commit(s.unsaved.changes...)
	s.unsaved.reset()
}

// reset forgets what changed.
func (u *unsaved) reset() {
	for _, ref := range u.services {
		ref.dirty = false
	}
	for _, server := range u.servers {
		server.dirty = false
	}
	u.changes, u.text, u.services, u.servers = nil, nil, nil, nil
}

func (s *Server) saved() savedServer {
	saved := savedServer{
		Server: *s.Options(), Seq: s.Seq,
		Counters: s.Counters.number, Home: s.lastService.number,
		LastWeight: s.LastWeight(), WasMasq: s.WasMasq.Load(), Left: s.drainStart, Held: s.Held(),
	}
	if !s.Available() {
		saved.Removed, saved.Service = true, &s.Key
		saved.Policy, saved.Local = s.Policy.Load(), s.locals
	}
	return saved
}

// appendTo appends what json.Marshal makes of a server, for those that are not removed
// at a tenth of its price: there are many.
func (s *savedServer) appendTo(b []byte) []byte {
	usual := config.Server{Addr: s.Addr, Port: s.Port, Method: s.Method, Weight: s.Weight, Upper: s.Upper, Lower: s.Lower}
	if s.Removed || s.Held || s.Server != usual {
		text, err := json.Marshal(s)
		if err != nil {
			panic("service: " + err.Error()) // it is plain data
		}
		return append(b, text...)
	}
	b = append(b, `{"address":"`...)
	b = s.Addr.AppendTo(b)
	b = appendNumber(b, `","port":`, int64(s.Port))
	b = append(b, `,"method":`...)
	b, _ = jsontext.AppendQuote(b, s.Method.Traits().Word)
	b = appendNumber(b, `,"weight":`, int64(s.Weight))
	for _, n := range []struct {
		name  string
		value int64
	}{
		{`,"upper_threshold":`, int64(s.Upper)}, {`,"lower_threshold":`, int64(s.Lower)},
		{`,"seq":`, int64(s.Seq)}, {`,"counters":`, int64(s.Counters)}, {`,"home":`, int64(s.Home)},
		{`,"last_weight":`, int64(s.LastWeight)}, {`,"left":`, int64(s.Left)},
	} {
		if n.value != 0 {
			b = appendNumber(b, n.name, n.value)
		}
	}
	if s.WasMasq {
		b = append(b, `,"was_masq":true`...)
	}
	return append(b, '}')
}

func appendNumber(b []byte, name string, n int64) []byte {
	return strconv.AppendInt(append(b, name...), n, 10)
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

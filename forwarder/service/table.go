// Package service holds what an administrator configures: virtual services, real
// servers, policies, mark rules and synchronization daemons, with their counters,
// under the rules and the errors of IPVS (ip_vs_ctl.c).
//
// A Table takes commands and publishes a Snapshot after each, which never changes:
// workers match packets against it without a lock. Servers keep their number, counters
// and connection counts across edits, and after removal for as long as connections
// refer to them.
//
// What follows from the configuration for the rest of the system (addresses to answer
// for, the guard, the filters) is worked out by the forwarder; the table only reports
// that something changed.
package service

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/state"
	"uvs/sched"
)

// removedFor is how long a removed server without connections is remembered, and
// sweepEvery how often that is checked (ip_vs.h, IP_VS_DEST_TRASH_PERIOD).
const (
	removedFor = 120 * time.Second
	sweepEvery = 60 * time.Second
)

// defaultScheduler is used for a service that names none, as with ipvsadm.
const defaultScheduler = "wlc"

// NewScheduler creates a scheduler by its name; sched.New is one.
type NewScheduler func(name string, flags sched.Flags, opts ...sched.Option) (sched.Scheduler, error)

// Table is the table of services, real servers and their counters, with the
// rules and the errors of IPVS (ip_vs_ctl.c). Changes take a lock and publish a
// new Snapshot for the workers; Load, Server and the methods of Server take
// none. All methods are safe for concurrent use.
type Table struct {
	// Total counts what the director carried for all services together.
	Total *Counters
	// Unicast, if set, decides in addition to the rules for addresses themselves whether a
	// real server can have this address. It is set before first use; the kernel refuses
	// the broadcast addresses of its own networks, for one.
	Unicast func(netip.Addr) bool

	// OnChange, if set, is called after each change, before the caller gets its result.
	OnChange func()
	// OnServers, if set, is told after OnChange what was done with servers, if anything was.
	OnServers func(ServerChanges)
	// EndRemoved, if set, ends the connections of removed servers if expire_nodest_conn
	// says so. It is called with mu held.
	EndRemoved func()
	// Clock, if set, returns the time of the connection table.
	Clock func() conntrack.Tick

	newScheduler  NewScheduler
	snapshot      atomic.Pointer[Snapshot]
	syncRuns      func() bool // a synchronization daemon runs; nil: never
	numbers       numbers
	ServerRemoved atomic.Bool // a server was removed since the last plan
	HasDraining   atomic.Bool // draining is not empty

	mu      sync.Mutex
	draft   *draft // nil: nothing to publish
	drafts  uint64
	edits   uint64 // number of the change under way
	endedAt uint64 // the last change that called EndRemoved
	byKey   map[config.Key]*Service
	servers map[serverKey]*Server
	removed map[serverKey]*Server
	// draining are the servers whose connections are to end, now or at a known time, with
	// the number of the change that added them.
	draining map[*Server]uint64
	drainSeq uint64

	marks       []config.MarkRule
	markNumbers []uint32 // of their records
	markChanges uint64   // of them, and of the services by mark
	seq         uint64
	swept       time.Time

	state   *state.State // nil: nothing outlives the process
	unsaved unsaved
	changes ServerChanges // of the change that goes on
}

// New returns an empty table whose services get their schedulers from
// newScheduler.
func New(newScheduler NewScheduler) *Table {
	s := &Table{
		Total:        newCounters(nil),
		newScheduler: newScheduler,
		byKey:        map[config.Key]*Service{},
		servers:      map[serverKey]*Server{},
		removed:      map[serverKey]*Server{},
		draining:     map[*Server]uint64{},
	}
	s.snapshot.Store(&Snapshot{})
	return s
}

// Load returns the table as it is now. Workers call it once a batch.
func (s *Table) Load() *Snapshot { return s.snapshot.Load() }

// Server returns the real server with the number id, even if it was removed but may
// still have connections; nil if there is none.
func (s *Table) Server(id sched.ID) *Server { return s.numbers.server(id) }

// Services returns all services with their servers and counters, in the order
// they were added, as they were at one moment.
func (s *Table) Services() []config.ServiceState {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make([]config.ServiceState, 0, len(s.byKey))
	for _, v := range s.inOrder() {
		states = append(states, v.state(s.time()))
	}
	return states
}

// State returns one service with its servers and counters.
func (s *Table) State(k config.Key) (config.ServiceState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.service(k)
	if err != nil {
		return config.ServiceState{}, err
	}
	return v.state(s.time()), nil
}

func (s *Table) inOrder() []*Service {
	all := make([]*Service, 0, len(s.byKey))
	for _, v := range s.byKey {
		all = append(all, v)
	}
	slices.SortFunc(all, func(a, b *Service) int { return int(int64(a.seq) - int64(b.seq)) })
	return all
}

// Tick updates the estimators and forgets removed servers that nothing refers to any
// longer. It must be called every EstimatorStep with the time.
func (s *Table) Tick(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Total.Tick()
	s.state.Commit() // what found no room before
	for _, v := range s.byKey {
		v.Counters.Tick()
		for _, server := range v.Servers {
			server.Counters.Tick()
		}
	}
	if now.Sub(s.swept) >= sweepEvery {
		s.swept = now
		s.sweep(now)
	}
}

func (s *Table) sweep(now time.Time) {
	for key, server := range s.removed {
		switch {
		case !server.unused():
			server.idle = time.Time{}
		case server.idle.IsZero():
			server.idle = now
		case now.Sub(server.idle) >= removedFor:
			delete(s.removed, key)
			s.numbers.forget(server.ID)
			if p := server.probe.Load(); p != nil {
				s.numbers.forget(p.ID)
			}
			s.forgetServer(server)
		}
	}
	s.freeCounters()
	s.save()
}

// change runs f under the lock, publishes what it changed and lets the rest of
// the system follow.
func (s *Table) change(f func() error) error {
	servers, err := s.edit(f)
	if s.OnChange != nil {
		s.OnChange()
	}
	if len(servers.First) > 0 {
		s.OnServers(servers)
	}
	return err
}

func (s *Table) edit(f func() error) (servers ServerChanges, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.publish()
	defer s.save() // first: a connection must not know a server that is not saved
	s.edits++
	err = f()
	servers, s.changes = s.changes, ServerChanges{}
	return servers, err
}

func (s *Table) publish() {
	if s.draft == nil {
		return
	}
	s.snapshot.Store(s.draft.Snapshot)
	s.draft = nil
}

// set makes v the service with the key k, or removes it if v is nil.
func (s *Table) set(k config.Key, v *Service) {
	if s.draft == nil {
		s.drafts++
		s.draft = newDraft(s.snapshot.Load(), s.drafts)
	}
	s.draft.set(k, v)
	if k.Mark != 0 && (v == nil) == (s.byKey[k] != nil) {
		s.markChanges++
	}
	if v == nil {
		s.forgetService(s.byKey[k].ref)
		delete(s.byKey, k)
		return
	}
	v.draft = s.drafts
	s.byKey[k] = v
	s.saveService(v)
}

// editable returns v if it belongs to the draft, else a copy that has replaced it
// there. What its slices hold is shared and must not be overwritten.
func (s *Table) editable(v *Service) *Service {
	if s.draft != nil && v.draft == s.draft.number {
		return v
	}
	c := *v
	c.Servers = slices.Clip(v.Servers)
	s.set(v.Key, &c)
	return &c
}

func (s *Table) service(k config.Key) (*Service, error) {
	if v := s.byKey[k.Normal()]; v != nil {
		return v, nil
	}
	return nil, fmt.Errorf("%s: %w", k, config.ErrNoSuchService)
}

// mixed reports whether a real server has another family than its service.
func (s *Table) mixed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.servers {
		if config.FamilyOf(key.addr.Addr()) != key.service.Family {
			return true
		}
	}
	return false
}

// Totals returns the counters over all services.
func (s *Table) Totals() config.Stats { return s.Total.Stats() }

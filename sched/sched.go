// Package sched decides which real server takes a new connection.
//
// It holds the real servers of a service as schedulers see them (address,
// weight, connection counts, thresholds) and IPVS's schedulers, one file each,
// named as `ipvsadm -s` names them. Each returns the very server that Linux 6.1
// would for the same events, ties included. It knows neither packets nor the
// connection table: it sees a Flow and counts that others keep up to date.
//
// IPVS walks the server list for each new connection. Here the answer is kept
// ready instead: the least-loaded kind holds a tournament over the list whose
// root is the winner (least.go), the round-robin kind and twos a tree of
// weights that is descended (weights.go, twos.go), the hash kind a table. A
// change of one server repairs one path of a tree, so a pick costs about the
// same with ten servers and with ten thousand. The plain walks live on in the
// tests, as the reference the trees are compared with.
//
// A scheduler has one lock, taken for the few hundred nanoseconds of a call;
// sh, dh and mh pick without any.
package sched

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"uvs/forwarder/frame"
)

// Scheduler picks real servers for the new connections of one service. It is
// told of every change of the server list and of the counts, and keeps its
// state (cursor, cache) over them. All methods are safe for concurrent use.
type Scheduler interface {
	// Name returns the scheduler's name as in ipvsadm -s.
	Name() string
	// Pick returns the server for a new connection with flow f, or nil if no
	// server can take it. If rec is not nil the arithmetic goes into it.
	Pick(f *frame.Flow, rec *Record) *RealServer
	// Add tells that s was added to the service. Servers are added in the order
	// the administrator did; IPVS's list, and with it every tie, begins with
	// the one added last, which is the scheduler's business and not the
	// caller's. Adding a server twice has no effect.
	Add(s *RealServer)
	// Remove tells that s left the service. Added again, the same *RealServer
	// finds the state that lblc and lblcr keep for it.
	Remove(s *RealServer)
	// Update tells that the administrator edited s: SetWeight or SetThresholds
	// were called, be it with the values s had (wrr restarts its round even
	// then). It may also be called instead of Count.
	Update(s *RealServer)
	// Count tells that the connection counts of s changed, and with them
	// perhaps its overload state. It is called once or twice in a connection's
	// life, never for packets of an established one.
	Count(s *RealServer)
}

// Flags are the scheduler flags of ipvsadm -b.
type Flags uint8

// The three flag bits have a meaning for each scheduler of its own
// (ipvsadm(8)): sh-fallback and mh-fallback are Flag1, sh-port and mh-port are
// Flag2.
const (
	Flag1 Flags = 1 << iota
	Flag2
	Flag3

	Fallback = Flag1
	Port     = Flag2
)

// ErrUnknown is returned by New for a name that is no scheduler.
type ErrUnknown string

func (e ErrUnknown) Error() string { return fmt.Sprintf("sched: no scheduler %q", string(e)) }

// Maker makes a scheduler without servers, for flags and options it is free to
// ignore.
type Maker func(Flags, Options) Scheduler

// registry holds the schedulers by name: those of IPVS, and what Register adds.
var registry = struct {
	sync.RWMutex
	makers map[string]Maker
}{makers: map[string]Maker{
	"rr":    func(Flags, Options) Scheduler { return newRR() },
	"wrr":   func(Flags, Options) Scheduler { return newWRR() },
	"lc":    func(Flags, Options) Scheduler { return newLC() },
	"wlc":   func(Flags, Options) Scheduler { return newWLC() },
	"sed":   func(Flags, Options) Scheduler { return newSED() },
	"nq":    func(Flags, Options) Scheduler { return newNQ() },
	"fo":    func(Flags, Options) Scheduler { return newFO() },
	"ovf":   func(Flags, Options) Scheduler { return newOVF() },
	"sh":    func(f Flags, _ Options) Scheduler { return newSH(f) },
	"dh":    func(Flags, Options) Scheduler { return newDH() },
	"mh":    func(f Flags, _ Options) Scheduler { return newMH(f) },
	"lblc":  func(_ Flags, o Options) Scheduler { return newLBLC(o) },
	"lblcr": func(_ Flags, o Options) Scheduler { return newLBLCR(o) },
	"twos":  func(_ Flags, o Options) Scheduler { return newTwos(o.Seed) },
}}

// Register adds a scheduler under a name that ipvsadm -s takes from then on. It
// is meant for the init function of a package that brings one, and panics if
// the name is empty or taken. Besides Scheduler the scheduler may implement
// BulkAdder and FlagSetter.
func Register(name string, m Maker) {
	registry.Lock()
	defer registry.Unlock()
	if name == "" || m == nil {
		panic("sched: Register needs a name and a maker")
	}
	if _, taken := registry.makers[name]; taken {
		panic(fmt.Sprintf("sched: scheduler %q is registered already", name))
	}
	registry.makers[name] = m
}

// New returns the scheduler that `ipvsadm -s name -b flags` sets, without
// servers. A name that is no scheduler gives an ErrUnknown; flags a scheduler
// has no meaning for are ignored, as the kernel does.
//
// IPVS keeps a scheduler's state over -E unless the name changes: make a new
// one, and AddAll the servers, only then. For changed flags see SetFlags.
func New(name string, flags Flags, opts ...Option) (Scheduler, error) {
	registry.RLock()
	m, ok := registry.makers[name]
	registry.RUnlock()
	if !ok {
		return nil, ErrUnknown(name)
	}
	o := defaults()
	for _, opt := range opts {
		opt(&o)
	}
	return m(flags, o), nil
}

// BulkAdder is a Scheduler that can do better than Add for each when it gets all
// servers of a service at once; see AddAll.
type BulkAdder interface {
	// AddAll adds servers, the one added to the service first at the front.
	AddAll(servers []*RealServer)
}

// FlagSetter is a Scheduler that ipvsadm -b has a meaning for.
type FlagSetter interface {
	// SetFlags changes the flags and keeps all other state.
	SetFlags(Flags)
}

// AddAll gives a new scheduler the servers its service had before it, in the
// order they were added. For a service that changes its scheduler it takes the
// place of Add: wrr then begins with the highest weight, as in the kernel, which
// the same servers added one by one would not give, and mh builds one table.
func AddAll(s Scheduler, servers []*RealServer) {
	if bulk, ok := s.(BulkAdder); ok {
		bulk.AddAll(servers)
		return
	}
	for _, server := range servers {
		s.Add(server)
	}
}

// Names returns the names of all schedulers, sorted.
func Names() []string {
	registry.RLock()
	defer registry.RUnlock()
	return slices.Sorted(maps.Keys(registry.makers))
}

// SetFlags changes the flags of a scheduler in use, which keeps its state.
func SetFlags(s Scheduler, flags Flags) {
	if f, ok := s.(FlagSetter); ok {
		f.SetFlags(flags)
	}
}

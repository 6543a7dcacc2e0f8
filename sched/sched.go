// Package sched decides which real server takes a new connection.
//
// It holds the real servers of a service as schedulers see them (address,
// weight, connection counts, thresholds) and IPVS's schedulers, one file each,
// named as `ipvsadm -s` names them. Each returns the very server that Linux 6.1
// would for the same events, ties included. It knows neither packets nor the
// connection table: it sees a Flow and counts that others keep up to date.
//
// IPVS walks the server list for each new connection. Here the schedulers keep an
// index instead: the least-loaded kind a tournament tree whose root is the winner
// (least.go), the round-robin kind and twos a tree of weights (weights.go, twos.go),
// the hash kind a table. A change of one server repairs one path of a tree, so a pick
// costs about the same with ten servers as with ten thousand. The plain walks remain
// in the tests, as the reference for the trees.
//
// All schedulers are safe for concurrent use. A scheduler has one lock, held for the
// few hundred nanoseconds of a call; sh, dh and mh pick without it.
package sched

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"uvs/forwarder/frame"
)

// Scheduler picks real servers for the new connections of one service. Its caller
// reports every change of the server list and of the counts, and the scheduler keeps
// its state (cursor, cache) across them. All methods are safe for concurrent use.
type Scheduler interface {
	// Name returns the scheduler's name as in ipvsadm -s.
	Name() string
	// Pick returns the server for a new connection with flow f, or nil if no
	// server can take it. If rec is not nil, Pick records its arithmetic there.
	Pick(f *frame.Flow, rec *Record) *RealServer
	// Add adds s to the list. Call it in the administrator's order of addition;
	// that IPVS's list, and with it every tie, begins with the server added last
	// is the scheduler's business. Adding a server twice has no effect.
	Add(s *RealServer)
	// Remove removes s from the list. If the same *RealServer is added again, it
	// finds the state that lblc and lblcr keep for it.
	Remove(s *RealServer)
	// Update says that the administrator edited s: SetWeight or SetThresholds
	// was called, even if with the values s had (wrr restarts its round even
	// then). It may also be called instead of Count.
	Update(s *RealServer)
	// Count says that the connection counts of s changed, and with them perhaps
	// its overload state. It is called once or twice in a connection's life, never
	// for packets of an established one.
	Count(s *RealServer)
}

// Flags are the scheduler flags of ipvsadm -b.
type Flags uint8

// Each scheduler gives the three flag bits a meaning of its own (ipvsadm(8)):
// sh-fallback and mh-fallback are Flag1, sh-port and mh-port are Flag2.
const (
	Flag1 Flags = 1 << iota
	Flag2
	Flag3

	Fallback = Flag1
	Port     = Flag2
)

// ErrUnknown is the error of New for a name that no scheduler has.
type ErrUnknown string

func (e ErrUnknown) Error() string { return fmt.Sprintf("sched: no scheduler %q", string(e)) }

// Maker returns a new scheduler without servers. It may ignore flags and options.
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

// Register adds a scheduler under a name, which ipvsadm -s then accepts. It is meant
// for the init function of a scheduler's package, and panics if the name is empty or
// registered already. Besides Scheduler the scheduler may implement BulkAdder and
// FlagSetter.
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

// New returns the scheduler that `ipvsadm -s name -b flags` sets, without servers. An
// unknown name gives an ErrUnknown; flags without a meaning for the scheduler are
// ignored, as in the kernel.
//
// IPVS keeps a scheduler's state across -E unless the name changes: make a new one,
// and AddAll the servers, only then. For changed flags see SetFlags.
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

// BulkAdder is a Scheduler that treats all servers of a service at once differently
// from one Add for each; see AddAll.
type BulkAdder interface {
	// AddAll adds servers, in the order in which they were added to the service.
	AddAll(servers []*RealServer)
}

// FlagSetter is a Scheduler with flags (ipvsadm -b).
type FlagSetter interface {
	// SetFlags changes the flags and keeps all other state.
	SetFlags(Flags)
}

// AddAll gives a new scheduler the servers that its service has already, in the order
// of their addition. Use it instead of Add when a service changes its scheduler: wrr
// then begins with the highest weight, as in the kernel and unlike after one Add for
// each, and mh builds one table only.
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

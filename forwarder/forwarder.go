// Package forwarder is the director's engine: it receives frames from ports, finds
// their connections, schedules new ones, and forwards the frames.
//
//	wire → Port.Recv → frame.Parse → conntrack.Lookup ──found────────────────┐
//	                      │ARP, NDP       │new                               │
//	                      ↓               ↓                                  │
//	                    neigh       Match → Pick → conntrack.Insert ─────────┤
//	                                      │no service                        │
//	                                      ↓                                  │
//	                                leave to the host                        │
//	wire ← Port.Send ← txQueue ← next hop ← Mode.Request, Mode.Reply ←───────┘
//
// A worker runs a batch to completion (worker.go, forward.go). schedule.go opens
// connections, icmp.go handles ICMP, workers.go follows the interfaces. Package service
// holds the configuration; package plan works out what follows from it:
// announced addresses, guard and filters. apply_plan.go applies that.
//
// All methods of Forwarder are safe for concurrent use.
package forwarder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/check"
	"uvs/forwarder/config"
	"uvs/forwarder/cookie"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/plan"
	"uvs/forwarder/port"
	"uvs/forwarder/service"
	"uvs/forwarder/state"
	"uvs/forwarder/sysctl"
	"uvs/modes"
	"uvs/sched"
	"uvs/sched/sim"
)

// Config is what a Forwarder is built from.
type Config struct {
	Driver     port.Driver
	Neighbours Neighbours
	Guard      Guard    // nil: nothing is kept from the host's stack
	Interfaces []string // names; empty: all
	HostLink   string   // interface whose other end is this host itself (a TAP device); empty: none
	Workers    int      // receive workers of all interfaces, and of each that is alone; 0: one for each CPU
	MaxConns   int      // connections the table holds; 0: conntrack.DefaultCapacity
	// LocalPorts are the first and the last port of FULLNAT's local addresses;
	// zero: 5000 to 65535.
	LocalPorts [2]uint16
	VIPRole    config.VIPRole // of services that have none of their own
	TOA        uint8          // TCP option that tells a FULLNAT server the client's address; 0: none

	// Sync says how connections are synchronized with other directors'.
	Sync SyncConfig

	// Memory, if set, holds the connections: conntrack.Size(MaxConns) bytes that
	// outlive the process. It is the caller's, who unmaps it when Run has returned.
	// What it holds already waits for Adopt.
	Memory []byte
	// Clock and Base are the time for connections in Memory: Clock, which every process
	// reads alike, was Base when their first tick began. Without a Clock it is
	// CLOCK_MONOTONIC, which like IPVS's timers stands still while the machine is
	// suspended.
	Clock func() time.Duration
	Base  time.Duration

	// State keeps what the next director is to find after a kill: New adopts what an
	// earlier one left there. nil: nothing is kept. It is closed after the Forwarder.
	State *state.State

	// NeedPorts makes Run fail if it cannot open the ports of an interface that is there
	// when it begins. Otherwise it tries again, or does without them.
	NeedPorts bool
	// Ending, if set, is called at the end of Run: when it returns, nobody calls a method
	// that reads connections any longer, and their memory goes.
	Ending func()
	// Sampled, if set, is told how long a worker took for a batch, from its receipt until it
	// was sent, and by which method its last packet of a connection went: of one batch in
	// sampleEvery frames. It is called by workers and must not block.
	Sampled func(m sched.Method, took time.Duration)

	Log *slog.Logger
}

// Forwarder is a director. Its configuration is that of the embedded Table and
// SyncDaemons, whose methods are its own.
type Forwarder struct {
	*service.Table
	*service.SyncDaemons

	sync *synchronization // runs them

	// Set by New, and never after.
	conf    Config
	log     *slog.Logger
	neigh   Neighbours
	conns   *conntrack.Table
	locals  *conntrack.Ports // of FULLNAT
	modes   *modes.Set
	cookies *cookie.Jar
	started time.Time

	// What workers load once a batch.
	view   atomic.Pointer[plan.View]
	links  atomic.Pointer[linkSet]
	rules  atomic.Pointer[conntrack.Rules]
	sysctl atomic.Pointer[sysctl.Values]

	// What workers and others share, each safe for concurrent use by itself.
	accounts   accounts
	gone       goneCounters
	nextLocal  atomic.Uint64  // of the local addresses
	ended      *atomic.Uint64 // connections that left the table
	forgotten  *atomic.Uint64 // addresses for which lblc and lblcr had no room
	clock      clock
	overload   overload
	openings   openings
	probes     probes
	refusals   refusalLog
	checks     *check.Runner
	ftp        ftpControls
	sip        sipCalls
	guardQueue guardQueue
	quiet      wake
	serverLog  serverLog
	tracing             // who records packets
	arrivals   arrivals // who records connections
	decided    decided

	others *service.Snapshot // of a twin: what the table is in the director

	busy  chan neigh.Link // interfaces on which the first TCP arrived
	ready chan struct{}   // closed when the first ports are open

	mu      sync.Mutex        // guards the ports
	queue   []namedPort       // open receive queues
	counted map[string]uint64 // by ports that are closed

	txLock sync.Mutex
	tx     txQueue // of frames that no worker sends

	planLock       sync.Mutex          // guards what follows, and orders the changes of the plan
	checkedServers map[netip.Addr]bool // real servers that warnExcluded has seen
	silent         map[netip.Addr]bool // Plan.Silent, as it was logged
	applied        *plan.Plan          // the last plan that was applied; nil: make a new one
}

// New returns a director that forwards nothing until Run. If the state cannot be true, it
// fails with a *state.Refused and has adopted nothing: set the state aside.
func New(c Config) (*Forwarder, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.LocalPorts == [2]uint16{} {
		c.LocalPorts = [2]uint16{5000, 65535}
	}
	fw := &Forwarder{
		conf:    c,
		log:     c.Log,
		neigh:   c.Neighbours,
		started: time.Now().Add(-c.State.Age()),
		busy:    make(chan neigh.Link, 16),
		ready:   make(chan struct{}),

		counted: map[string]uint64{},
	}
	fw.Table = service.New(fw.newScheduler)
	fw.SyncDaemons = service.NewSyncDaemons(fw.Table, c.Log)
	fw.sync = fw.newSynchronization(c.Sync)
	fw.SyncDaemons.OnChange = fw.sync.follow
	fw.accounts.restore(c.State)
	fw.restorePorts()
	fw.forgotten = c.State.Counter("sched-forgotten")
	fw.ended = c.State.Counter("connections-ended")
	fw.gone = newGoneCounters(c.State)
	fw.guardQueue.wake = make(chan struct{}, 1)
	fw.quiet = make(wake, 1)
	if err := fw.openTable(); err != nil {
		return nil, err
	}
	var err error
	if fw.locals, err = conntrack.NewPorts(fw.conns, c.LocalPorts[0], c.LocalPorts[1]); err != nil {
		return nil, fmt.Errorf("forwarder: %w", err)
	}
	fw.modes = modes.NewSet(modes.Settings{TOA: c.TOA})
	fw.tx = txQueue{driver: c.Driver, own: -1, sent: fw.accounts.sent}
	fw.followTable()
	fw.rules.Store(conntrack.DefaultRules())
	initial := sysctl.Default()
	fw.sysctl.Store(&initial)
	fw.links.Store(&linkSet{})
	fw.view.Store(&plan.View{})
	if err := fw.restore(); err != nil {
		return nil, errors.Join(err, fw.conns.Close())
	}
	fw.Table.OnServers = fw.logServers
	return fw, nil
}

// Run forwards until the context ends, then closes all ports. It returns the context's
// error, or the error that ended it earlier.
func (fw *Forwarder) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := fw.neigh.Run(ctx); err != nil && ctx.Err() == nil {
			cancel(fmt.Errorf("forwarder: neighbours: %w", err))
		}
	})
	wg.Go(func() { fw.runChecks(ctx) })
	wg.Go(func() { fw.housekeep(ctx) })
	wg.Go(func() { fw.conns.Provide(ctx) })
	wg.Go(func() { fw.runGuardQueue(ctx) })
	wg.Go(func() { fw.joinLinks(ctx) })
	wg.Go(func() { fw.sync.run(ctx) })
	wg.Go(func() { fw.keepQuiet(ctx) })
	if err := fw.followLinks(ctx); err != nil {
		cancel(err)
	}
	wg.Wait()
	fw.portCounters() // to be kept
	fw.tx.close()
	if fw.conf.Ending != nil {
		fw.conf.Ending()
	}
	fw.conns.Close()
	return context.Cause(ctx)
}

// Close releases the memory of a director that has not Run.
func (fw *Forwarder) Close() error { return fw.conns.Close() }

// Ready returns a channel that is closed once Run has opened ports on all
// present interfaces, so that no frame is missed from then on.
func (fw *Forwarder) Ready() <-chan struct{} { return fw.ready }

// Emit sends frames that no worker received: announcements, requests, and frames that
// waited for their next hop. Their Egress is set.
func (fw *Forwarder) Emit(frames []frame.Frame) {
	fw.txLock.Lock()
	defer fw.txLock.Unlock()
	links := fw.links.Load()
	fw.tx.forget(links)
	for i := range frames {
		if !fw.tx.add(&frames[i], links) {
			fw.Dropped(frame.DropNoRoute, frames[i:i+1])
		}
	}
	fw.tx.flush()
}

// now returns the time of the connection table.
func (fw *Forwarder) now() conntrack.Tick { return tick(time.Since(fw.started)) }

// tick returns the connection table's clock for a time since the start.
func tick(d time.Duration) conntrack.Tick {
	return conntrack.Tick(d/(time.Second/conntrack.TicksPerSecond)) + 1
}

// housekeep expires connections, moves the estimators and defends.
func (fw *Forwarder) housekeep(ctx context.Context) {
	const period = time.Second / conntrack.TicksPerSecond
	time.Sleep(period - time.Since(fw.started)%period) // in step with the ticks: what is due is done as one begins
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	estimate := time.NewTicker(service.EstimatorStep)
	defer estimate.Stop()
	defense := time.NewTicker(defensePeriod)
	defer defense.Stop()
	var dropper conntrack.Dropper
	short := false
	reader := fw.conns.Reader()
	defer reader.Close()
	drainer := newDrainer(fw, reader)
	proxy := &proxyKeeper{fw: fw, reader: reader}
	watch, unguarded, levels := newWatch(fw.log, fw.Counters()), false, newLevels(fw.log)
	for {
		watch.idle(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			watch.tick(time.Now(), period)
			fw.expire(ctx)
			drainer.step(fw.now())
			proxy.step(fw.now())
			fw.endProbes(reader)
		case now := <-estimate.C:
			fw.Tick(now)
			watch.counters(now, fw.Counters())
			levels.look(fw)
			fw.serverLog.rest(fw.log)
			unguarded = fw.checkGuard(unguarded)
			fw.watchServers(now)
			if fw.planOutdated() {
				fw.rebuildOrLog()
			}
		case <-defense.C:
			fw.defend()
			fw.dropEntries(&dropper, reader)
			short = fw.logShortage(short)
		}
	}
}

// connGone releases what a connection held: its place in the server's counts and its
// local port.
func (fw *Forwarder) connGone(c *conntrack.Conn) {
	if c.Method().NeedsLocal() && !c.Has(conntrack.Template) {
		fw.locals.Release(c)
	}
	if c.Has(conntrack.Helped) {
		fw.forgetHelper(c)
	}
	if _, ok := fw.conns.Opening(c); ok {
		fw.endOpening(fw.conns.Ref(c))
	}
	if c.Has(conntrack.FromHost) {
		fw.unguardReply(c)
	}
	s := fw.Server(c.Server)
	if s == nil {
		return
	}
	fw.became(sim.Gone, c)
	if !c.Has(conntrack.Template) {
		if !s.Probes() {
			fw.ended.Add(1)
		}
		s.UnrefMethod(c.Method())
	}
	switch {
	case c.Has(conntrack.Template):
		s.Count(0, 0, -1)
	case c.Has(conntrack.Inactive):
		s.Count(0, -1, 0)
	default:
		s.Count(-1, 0, 0)
	}
}

// Timeouts returns the three timeouts of ipvsadm --set.
func (fw *Forwarder) Timeouts() config.Timeouts { return timeouts(fw.rules.Load()) }

func timeouts(r *conntrack.Rules) config.Timeouts {
	seconds := func(t conntrack.Tick) uint32 { return uint32(t / conntrack.TicksPerSecond) }
	return config.Timeouts{
		TCP:    seconds(r.TCP[conntrack.TCPEstablished]),
		TCPFin: seconds(r.TCP[conntrack.TCPFinWait]),
		UDP:    seconds(r.UDP),
	}
}

// SetTimeouts changes them; 0 leaves one unchanged.
func (fw *Forwarder) SetTimeouts(t config.Timeouts) error {
	fw.mu.Lock()
	defer fw.mu.Unlock()
	r := *fw.rules.Load()
	r.Set(t.TCP, t.TCPFin, t.UDP)
	fw.rules.Store(&r)
	fw.SaveSetting(state.Timeouts, timeouts(&r))
	return nil
}

package forwarder

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/connsync"
	"uvs/forwarder/syncnet"
)

// SyncTrust says what a backup believes of a master.
type SyncTrust string

const (
	// TrustKernel is what IPVS does: whatever is said.
	TrustKernel SyncTrust = "kernel"
	// TrustServers is that entries go to real servers of the services here, and live no
	// longer than twice what they would here.
	TrustServers SyncTrust = "servers"
)

// SyncConfig is how a director synchronizes its connections.
type SyncConfig struct {
	// Net opens the sockets; nil: those of this network namespace.
	Net syncnet.Net
	// Trust is empty for the default: TrustServers with a Key, else TrustKernel.
	Trust SyncTrust
	// Sources are the senders whose datagrams a backup takes; empty: all.
	Sources []netip.Prefix
	// Key signs what is sent, and only what is signed with it is taken; nil: none. The
	// kernel has nothing like it.
	Key []byte
}

func (c *SyncConfig) trust() SyncTrust {
	switch {
	case c.Trust != "":
		return c.Trust
	case c.Key != nil:
		return TrustServers
	}
	return TrustKernel
}

// synchronization runs the daemons that are configured (service.SyncDaemons).
type synchronization struct {
	fw    *Forwarder
	conf  SyncConfig
	net   syncnet.Net
	id    uint64 // a random number
	count syncCounters

	// master is the master that runs, nil if none does. Workers load it once a batch.
	master atomic.Pointer[syncMaster]
	// backup says that a backup runs.
	backup atomic.Bool
	copies atomic.Pointer[[]atomic.Uint64] // by Ref, see untouched; nil: no backup has run

	mu      sync.Mutex
	ctx     context.Context // of Run; nil: not running
	running map[config.DaemonState]*runningDaemon
	said    map[connsync.Refusal]uint64 // refusals that were told of
	saidAt  time.Time
}

type runningDaemon struct {
	config.Daemon
	end  context.CancelFunc
	done chan struct{}
}

// syncCounters count what the daemons do. They begin anew with the process.
type syncCounters struct {
	sent, entriesSent, sendFailed, bulks  atomic.Uint64
	lost                                  atomic.Uint64 // entries for which a worker had no room
	received, entriesTaken, missed, asked atomic.Uint64
	refused                               [connsync.Refusals]atomic.Uint64
}

func (n *syncCounters) refuse(r connsync.Refusal) { n.refused[r].Add(1) }

func (fw *Forwarder) newSynchronization(c SyncConfig) *synchronization {
	s := &synchronization{fw: fw, conf: c, net: c.Net, id: rand.Uint64(),
		running: map[config.DaemonState]*runningDaemon{}, said: map[connsync.Refusal]uint64{}}
	if s.net == nil {
		s.net = syncnet.UDP{}
	}
	return s
}

// run runs the daemons until the context ends.
func (s *synchronization) run(ctx context.Context) {
	s.begin(ctx)
	tick := time.NewTicker(beaconEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			s.logRefused()
		}
	}
	s.stop()
}

// begin starts the daemons that are configured; others start and stop as they are.
func (s *synchronization) begin(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	s.follow()
}

// stop ends all daemons, and waits for that.
func (s *synchronization) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for state := range s.running {
		s.end(state)
	}
	s.ctx = nil
}

// follow makes the daemons that run those that are configured.
func (s *synchronization) follow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil {
		return
	}
	want := map[config.DaemonState]config.Daemon{}
	for _, d := range s.fw.Daemons() {
		want[d.State] = d
	}
	for state, r := range s.running {
		if d, ok := want[state]; !ok || d != r.Daemon {
			s.end(state)
		}
	}
	for state, d := range want {
		if s.running[state] == nil {
			s.start(d)
		}
	}
}

// start starts a daemon. If its sockets cannot be opened now, it tries again.
func (s *synchronization) start(d config.Daemon) {
	ctx, cancel := context.WithCancel(s.ctx)
	r := &runningDaemon{Daemon: d, end: cancel, done: make(chan struct{})}
	s.running[d.State] = r
	run := func(context.Context) {}
	if d.State == config.Master {
		m := s.newMaster(d)
		m.link.report(m.open())
		if s.fw.conns.Len() > 0 {
			m.sendAll()
		}
		s.master.Store(m)
		run = m.run
	} else {
		b := s.newBackup(d)
		b.link.report(b.open())
		s.backup.Store(true)
		run = b.run
	}
	go func() {
		defer close(r.done)
		run(ctx)
	}()
}

// end ends a daemon.
func (s *synchronization) end(state config.DaemonState) {
	r := s.running[state]
	if state == config.Master {
		s.master.Store(nil)
	} else {
		s.backup.Store(false)
	}
	r.end()
	<-r.done
	delete(s.running, state)
}

// refusedEvery is how often refused entries are told of, at most.
const refusedEvery = 10 * time.Second

// logRefused tells of what was refused since it did so last.
func (s *synchronization) logRefused() {
	if time.Since(s.saidAt) < refusedEvery {
		return
	}
	var what []string
	for r := connsync.Taken + 1; r < connsync.Refusals; r++ {
		if n := s.count.refused[r].Load(); n != s.said[r] && r != connsync.OtherID {
			what = append(what, fmt.Sprintf("%s %d", r, n-s.said[r]))
			s.said[r] = n
		}
	}
	if len(what) > 0 {
		s.saidAt = time.Now()
		s.fw.log.Warn("synchronized connections were refused", "event", "sync-refused", "refused", strings.Join(what, ", "))
	}
}

// counters sets the counters of synchronization.
func (s *synchronization) counters(to map[string]uint64) {
	n := &s.count
	for name, c := range map[string]*atomic.Uint64{
		"sync-sent": &n.sent, "sync-entries-sent": &n.entriesSent, "sync-send-failed": &n.sendFailed, "sync-bulks": &n.bulks, "sync-lost": &n.lost,
		"sync-received": &n.received, "sync-entries-taken": &n.entriesTaken, "sync-missed": &n.missed, "sync-asked": &n.asked,
	} {
		to[name] = c.Load()
	}
	for r := connsync.Taken + 1; r < connsync.Refusals; r++ {
		to["sync-refused-"+r.String()] = n.refused[r].Load()
	}
	to["sync-queue"], to["sync-lag-us"] = 0, 0
	if m := s.master.Load(); m != nil {
		datagrams, lag := m.queue()
		to["sync-queue"], to["sync-lag-us"] = uint64(datagrams), uint64(lag.Microseconds())
	}
}

// syncLink tells once that a daemon's sockets cannot be opened, and once that they can
// again.
type syncLink struct {
	log    *slog.Logger
	daemon config.Daemon
	down   bool
}

func (l *syncLink) report(err error) {
	switch down := err != nil; {
	case down && !l.down:
		l.log.Warn("connections are not synchronized until the interface is there", "event", "sync-interface-lost",
			"daemon", l.daemon.State, "interface", l.daemon.Interface, "err", err)
	case !down && l.down:
		l.log.Info("connections are synchronized again", "event", "sync-interface-back",
			"daemon", l.daemon.State, "interface", l.daemon.Interface)
	}
	l.down = err != nil
}

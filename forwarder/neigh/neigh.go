// Package neigh finds the next hop towards an address: its interface, gateway and MAC
// address. It also knows which addresses are the director's own, and announces them on
// the wire.
//
// Links, addresses, routes, rules and neighbours are the kernel's and followed by
// netlink; only what Config.HostEntries describes is ever written to the kernel. An
// address that the kernel's neighbour table does not know is resolved by this package
// with ARP (RFC 826) or neighbour solicitations (RFC 4861), while the frames for it
// wait in a small queue.
//
// The director's own addresses, virtual ones and the local ones of FULLNAT, need
// not be configured on the host: Answer turns a request for one into its reply,
// and each is announced when it appears, when a link comes up, and on a timer.
//
// Lookup, Queue and Answer are for the workers, safe for concurrent use, and do not
// allocate for what is known already. A worker keeps the Hops it was given as long as
// Generation stays the same. Everything else happens in Run, which is one goroutine and
// the only caller of Config.Send and Config.Dropped.
package neigh

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"uvs/forwarder/frame"
)

// Config is what a Table needs from its surroundings.
type Config struct {
	// Send emits frames whose Egress is link: questions, announcements, and frames whose
	// next hop was found. The callee owns the frames. Only Run calls it.
	Send func(link int, frames []frame.Frame)
	// Dropped is called for frames that were queued and then dropped for the reason v. It
	// may be nil.
	Dropped func(v frame.Verdict, frames []frame.Frame)
	// AnnounceEvery is the interval at which all owned addresses are announced
	// again, 60 seconds if zero, never if negative.
	AnnounceEvery time.Duration
	// HostEntries lets the host reach owned addresses on its networks that are not its own,
	// see hostentries.go.
	HostEntries bool
	// Log receives warnings; slog.Default() if nil.
	Log *slog.Logger
}

// DefaultAnnounceEvery is Config.AnnounceEvery if that is zero.
const DefaultAnnounceEvery = time.Minute

// ageEvery is how often the generation changes even if nothing else did, so that
// workers ask again and Lookup sees which neighbours are in use.
const ageEvery = 30 * time.Second

// Table is the director's view of the network around it.
type Table struct {
	cfg    Config
	kernel kernel

	state *state // what view was built from; Run only

	gen     atomic.Uint64
	changes atomic.Uint64 // see Changes
	age     atomic.Uint32 // counts intervals of ageEvery
	view    atomic.Pointer[view]
	owned   sync.Map // of netip.Addr

	learned     chan observation // from Answer to Run, never waited for
	claimed     chan observation // other hosts that claim an owned address
	wake        chan struct{}
	linkChanges chan struct{}

	mu            sync.RWMutex // guards what follows
	neighbours    map[key]*neighbour
	timers        timers
	ready         []*neighbour         // known, with frames still in their queue
	queued        int                  // bytes in all queues
	resolving     map[int]int          // neighbours in phaseAsking, by link
	routeAnswers  map[netip.Addr]*path // the kernel's answers while a rule is opaque
	answerPaths   map[pathFacts]*path
	announcements *announcements

	claims claims
	asked  asked

	groupMu sync.Mutex
	groups  map[key]bool // listened to

	hostChanged   atomic.Bool     // the host's neighbour table has to follow a change
	hostDue       time.Time       // when its entries are due again; Run only, as the next three
	hostNotBefore time.Time       // and not before
	hostEntries   map[key][6]byte // the entries it was given
	leaveEntries  atomic.Bool     // they stay at the end
	hostFull      bool            // there is more than it can hold

	overrunQuiet time.Time // until when an overrun is not told of again; Run only

	out map[int][]frame.Frame // frames to send at the end of a step; Run only
	now time.Time             // of the current step; Run only
}

// New opens netlink in the network namespace of the calling thread and reads the
// present state. Until Run nothing is sent and no change is followed.
func New(cfg Config) (*Table, error) {
	k, err := openKernel()
	if err != nil {
		return nil, fmt.Errorf("neigh: open netlink: %w", err)
	}
	t, err := newTable(cfg, k)
	if err != nil {
		k.close()
	}
	return t, err
}

func newTable(cfg Config, k kernel) (*Table, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.AnnounceEvery == 0 {
		cfg.AnnounceEvery = DefaultAnnounceEvery
	}
	t := &Table{
		cfg:           cfg,
		kernel:        k,
		learned:       make(chan observation, 1024),
		claimed:       make(chan observation, 16),
		claims:        claims{known: make(map[key]*claim)},
		wake:          make(chan struct{}, 1),
		linkChanges:   make(chan struct{}, 1),
		neighbours:    make(map[key]*neighbour),
		routeAnswers:  make(map[netip.Addr]*path),
		answerPaths:   make(map[pathFacts]*path),
		announcements: newAnnouncements(cfg.AnnounceEvery),
		resolving:     make(map[int]int),
		groups:        make(map[key]bool),
		out:           make(map[int][]frame.Frame),
	}
	t.view.Store(&view{})
	t.now = time.Now()
	if err := t.reload(); err != nil {
		return nil, err
	}
	return t, t.resync()
}

// Close releases the netlink sockets of a Table that is not running. Run does
// the same when it ends.
func (t *Table) Close() error { return t.kernel.close() }

// Generation changes whenever a result of Lookup may have changed, and also every half
// minute. A worker may keep the Hops of one generation.
func (t *Table) Generation() uint64 { return t.gen.Load() }

// Run follows the kernel and runs all timers until ctx is done, and then returns nil.
// It returns an error if netlink can no longer be read.
func (t *Table) Run(ctx context.Context) error {
	defer t.kernel.close()
	defer t.removeHostEntries()
	events := t.kernel.follow(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	aged, again := time.Now().Add(ageEvery), reloads{}
	inputs := time.Now().Add(inputsEvery)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok && ctx.Err() == nil {
				return fmt.Errorf("neigh: netlink: socket closed")
			}
			t.now = time.Now()
			again.add(e, t.now)
			t.tellOverrun(e)
			for _, entry := range e.entries {
				t.followEntry(entry)
			}
		case s := <-t.learned:
			t.now = time.Now()
			t.learnAll(s)
		case s := <-t.claims.open(t.claimed, t.now):
			t.now = time.Now()
			t.defendAll(s)
		case <-t.wake:
		case <-timer.C:
		}
		t.now = time.Now()
		t.read(&again)
		if !t.now.Before(aged) {
			t.ageOut()
			aged = t.now.Add(ageEvery)
		}
		if !t.now.Before(inputs) {
			inputs = t.followInputs()
		}
		until := earlier(inputs, earlier(aged, again.next()))
		timer.Reset(t.step(earlier(until, t.claims.reopen(t.now))).Sub(t.now))
	}
}

// step does everything that is due, sends the resulting frames, and returns the time of
// the next step, at most until.
func (t *Table) step(until time.Time) time.Time {
	t.mu.Lock()
	until = earlier(until, t.expire())
	t.release()
	until = earlier(until, t.announce())
	t.mu.Unlock()
	until = earlier(until, t.updateHostEntries())
	for link, frames := range t.out {
		t.cfg.Send(link, frames)
		delete(t.out, link)
	}
	return until
}

// kick makes Run take a step now.
func (t *Table) kick() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// changed makes workers forget their Hops.
func (t *Table) changed() { t.gen.Add(1) }

// earlier returns the earlier of two times, of which the zero Time is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

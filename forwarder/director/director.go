// Package director is a whole director, for programs that import uvs: the engine
// of package forwarder with its control API, its rules file, and its place in a
// network namespace. `uvs director` is a thin user of it.
//
//	c := director.Defaults()
//	c.Interfaces = []string{"eth0", "eth1"}
//	d, err := director.New(ctx, c)
//	…
//	err = d.Run(ctx)
//
// Schedulers and forwarding methods that the program has added, by sched.Register
// and modes.Register, serve like those of IPVS.
// Frames come by the ports that Config.IO names, or by a Driver of the program's own;
// docs/example has one of each.
package director

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"uvs/forwarder"
	"uvs/forwarder/afpacket"
	"uvs/forwarder/config"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/forwarder/state"
	"uvs/internal/control"
	"uvs/internal/events"
	"uvs/internal/metrics"
	"uvs/internal/rulesfile"
)

// Director is a director with what surrounds it. It is configured and watched by
// the methods of its Forwarder, all of which are safe for concurrent use.
type Director struct {
	*forwarder.Forwarder

	conf     Config
	rules    rulesfile.File
	gro      *afpacket.GRO
	guard    *guard.Guard      // nil: none
	table    *neigh.Table      // nil: the Config has Neighbours
	state    *state.State      // nil: nothing outlives the director
	presence *control.Presence // nil: nobody is told
	listener *control.Listener // nil: no control API
	server   *control.Server
	figures  *metrics.Metrics // nil: nobody asks for them
	scraped  *metrics.Server

	before   atomic.Pointer[predecessor] // which this director replaces; nil: none, or it has ended
	ending   context.Context             // done when Run is to end, with the cause
	end      context.CancelCauseFunc     // of ending
	replaced atomic.Bool                 // a successor was found

	ran    bool
	using  sync.RWMutex // held by who uses the engine besides the API; locked from endUse on
	unused sync.Once
	closed sync.Once
}

// New returns a director that has opened its control socket and loaded its rules,
// and forwards nothing until Run. It fails if another director works in this
// network namespace, unless the Config wants to share it. The caller ends it with
// Run, or with Close if it does not come to that.
func New(ctx context.Context, c Config) (*Director, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Events == nil {
		c.Events = events.New()
		c.Log = slog.New(c.Events.Handler(c.Log.Handler()))
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	d := &Director{
		conf:  c,
		rules: rulesfile.File{Path: c.Rules, Log: c.Log},
		gro:   &afpacket.GRO{Mode: c.GRO, Log: c.Log},
	}
	d.ending, d.end = context.WithCancelCause(context.Background())
	if err := d.open(ctx); err != nil {
		d.giveUp(err)
		return nil, err
	}
	return d, nil
}

func (d *Director) open(ctx context.Context) (err error) {
	if d.conf.Replace {
		if err := d.takeOver(ctx); err != nil {
			return err
		}
	}
	if !d.conf.NoControl {
		if d.listener, err = control.ListenKept(d.conf.Socket, d.conf.Store); err != nil {
			return err
		}
	}
	if err := d.openMetrics(); err != nil {
		return err
	}
	if d.conf.Neighbours == nil {
		if d.presence, err = d.conf.present(); err != nil {
			return err
		}
	}
	if err := d.openState(); err != nil {
		return err
	}
	d.noteHost()
	if err := d.build(); err != nil {
		return err
	}
	if d.listener != nil {
		about := config.About{Program: "uvs", Version: d.conf.Version, PID: os.Getpid()}
		d.server = control.NewServer(d.Forwarder, about, d.conf.Log)
		d.server.OnReplace(d.meet)
		d.server.Events(d.conf.Events)
	}
	return d.loadRules(ctx)
}

// Run forwards until the context ends, answers on the control socket meanwhile,
// and closes the director. If the context ended, Run saves the rules and returns
// what kept it from that; otherwise it returns what made the director end: nil if
// another director has taken its place, or was left to by Leave, and ErrNotReplaced if
// one failed at it.
func (d *Director) Run(ctx context.Context) error {
	d.ran = true
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(d.ending, func() { end(context.Cause(d.ending)) })()
	go d.serve(running)
	var notes sync.WaitGroup
	notes.Go(func() { d.noteNeighbours(running) })
	err := d.Forwarder.Run(running)
	end(err)
	notes.Wait()
	if next := (*successor)(nil); errors.As(err, &next) {
		return d.handOver(next)
	}
	if errors.Is(err, errLeave) {
		d.closed.Do(d.leave)
		return nil
	}
	if d.before.Load() != nil {
		d.giveUp(err)
		return err
	}
	defer d.Close()
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		defer d.noteRules()
		return d.rules.Save(context.WithoutCancel(ctx), control.NewLocal(d))
	}
	return err
}

// errLeave ends Run for Leave.
var errLeave = errors.New("director: the next one goes on")

// Leave ends Run, also one that is yet to begin, and leaves everything to the next director, as a killed one does, but at a
// moment at which no packet is under way: nothing is restored, and no rules are saved.
func (d *Director) Leave() {
	d.leaveAPI()
	d.endFor(errLeave)
}

// endFor ends Run for another director, which goes on with what this one leaves.
func (d *Director) endFor(why error) {
	if d.table != nil {
		d.table.LeaveHostEntries()
	}
	d.end(why)
}

// serve serves the control API once all ports are open: a client that gets an
// answer can rely on it that no frame is missed.
func (d *Director) serve(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-d.Ready():
	}
	if err := d.begun(ctx); err != nil {
		d.end(err)
		return
	}
	if d.conf.OnReady != nil {
		d.conf.OnReady()
	}
	d.conf.Log.Info("the director works", "event", "director-ready", "pid", os.Getpid(), "version", d.conf.Version)
	d.serveMetrics()
	if d.server != nil {
		_ = d.server.Serve(d.listener) // until Close
	}
}

// Reload makes the director follow its rules file, if it has one and the file is
// there. Only what differs changes; a file with a mistake changes nothing.
func (d *Director) Reload(ctx context.Context) error {
	if !d.using.TryRLock() {
		return errors.New("director: it ends")
	}
	defer d.using.RUnlock()
	defer d.noteRules()
	return d.rules.Load(ctx, control.NewLocal(d))
}

// Close ends a director that does not Run, or after it did: the control API ends,
// and interfaces and the host's stack are as the director found them. Close does
// nothing the second time.
func (d *Director) Close() { d.closed.Do(d.close) }

func (d *Director) close() {
	d.endUse()
	if err := d.gro.Restore(); err != nil {
		d.conf.Log.Warn("interfaces", "err", err)
	}
	if d.listener != nil {
		_ = d.listener.Close()
	}
	d.closeEngine()
	d.closeState()
	if d.guard != nil {
		d.guard.EndSilence()
		if err := d.guard.Leave(); err != nil {
			d.conf.Log.Warn("guard", "err", err)
		}
	}
	if d.conf.Store.Supervised() {
		return // it may be a restart; at a stop the service manager lets go
	}
	for _, name := range d.conf.Store.Names("") {
		if !strings.HasPrefix(name, statePrefix) {
			_ = d.conf.Store.Forget(name)
		}
	}
}

// endUse waits until nobody uses the engine from outside any longer: its memory goes.
func (d *Director) endUse() {
	d.unused.Do(func() {
		_ = d.presence.Close() // first: whoever sees that no director answers may start one
		if d.server != nil {
			_ = d.server.Close()
		}
		if d.scraped != nil {
			d.scraped.Close()
		}
		d.using.Lock()
	})
}

// closeEngine releases what Run would have released.
func (d *Director) closeEngine() {
	if !d.ran && d.Forwarder != nil {
		_ = d.Forwarder.Close()
	}
	if !d.ran && d.table != nil {
		_ = d.table.Close()
	}
}

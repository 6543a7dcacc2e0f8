package check

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"uvs/forwarder/config"
	"uvs/forwarder/service"
)

// atOnce is how many probes of repeated checks are under way at most, and onceAtOnce how
// many of those that ask once beside them: neither waits for the other.
const (
	atOnce     = 256
	onceAtOnce = 64
)

// slots bound how many probes are under way.
type slots chan struct{}

// Runner repeats the checks of a director. Its methods are safe for concurrent use; Run
// is called once.
type Runner struct {
	table    *service.Table
	director Director
	log      *slog.Logger

	wake        chan struct{}
	slots, once slots // of repeated checks, and of those that ask once

	mu     sync.Mutex // guards what follows
	groups map[config.Key]*group
}

// New returns a Runner for the checks of a table.
func New(t *service.Table, d Director, log *slog.Logger) *Runner {
	return &Runner{table: t, director: d, log: log, groups: map[config.Key]*group{},
		wake: make(chan struct{}, 1), slots: make(slots, atOnce), once: make(slots, onceAtOnce)}
}

// Changed has the Runner follow a change of the table. It does not wait.
func (r *Runner) Changed() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run follows the table and asks, until the context ends.
func (r *Runner) Run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	seen := &service.Snapshot{}
	for {
		now := r.table.Load()
		for _, key := range r.changes(now, seen) {
			r.follow(ctx, &asking, key, now.Service(key))
		}
		seen = now
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		}
	}
}

// changes returns the services that have checks, or had, and have changed.
func (r *Runner) changes(now, seen *service.Snapshot) (keys []config.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range now.ChangedSince(seen) {
		if v != nil && len(v.Checks) > 0 && r.groups[v.Key] == nil {
			keys = append(keys, v.Key)
		}
	}
	for key, g := range r.groups {
		if now.Service(key) != g.service {
			keys = append(keys, key)
		}
	}
	return keys
}

// follow starts and stops the probers of a service; nil if it was removed.
func (r *Runner) follow(ctx context.Context, asking *sync.WaitGroup, key config.Key, v *service.Service) {
	r.mu.Lock()
	g := r.groups[key]
	if g == nil {
		g = &group{runner: r, key: key, probers: map[proberKey]*prober{}}
		r.groups[key] = g
	}
	if v == nil || len(v.Checks) == 0 {
		delete(r.groups, key)
	}
	g.service = v
	r.mu.Unlock()
	for _, p := range g.follow(v) {
		asking.Go(func() { p.run(ctx) })
	}
	g.changed()
}

// States returns what all checks have found: by service, and of each by servers and checks
// in the order in which they were added.
func (r *Runner) States() []config.CheckState {
	all := []config.CheckState{}
	for _, g := range r.sorted() {
		all = append(all, g.states()...)
	}
	return all
}

func (r *Runner) sorted() []*group {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*group, 0, len(r.groups))
	for _, g := range r.groups {
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.key.Mark, b.key.Mark), a.key.Addr.Compare(b.key.Addr),
			cmp.Compare(a.key.Port, b.key.Port), cmp.Compare(a.key.Proto, b.key.Proto), cmp.Compare(a.key.Family, b.key.Family))
	})
	return all
}

// Now asks once: the servers of one service or, with nil, of all, by a given check or,
// with nil, by those that the service has; a service without gets a TCP connection or
// a datagram. None takes longer than config.LongestOnce. It returns when all have answered
// or failed. It may fail with ErrNoSuchService or ErrInvalid.
func (r *Runner) Now(ctx context.Context, k *config.Key, c *config.Check) ([]config.CheckState, error) {
	services := r.table.Services()
	if k != nil {
		v, err := r.table.State(*k)
		if err != nil {
			return nil, err
		}
		services = []config.ServiceState{v}
	}
	var probes []Probe
	for i := range services {
		checks, err := checksOf(&services[i], c, k != nil)
		if err != nil {
			return nil, err
		}
		for _, s := range services[i].Servers {
			for _, check := range checks {
				check = check.Full()
				check.Timeout = min(check.Timeout, uint32(config.LongestOnce.Milliseconds()))
				probes = append(probes, Probe{services[i].Key.Normal(), s.Server, check})
			}
		}
	}
	return r.askAll(ctx, probes), nil
}

// checksOf returns the checks by which to ask the servers of a service now: none if it was
// not named and the check is not for it.
func checksOf(v *config.ServiceState, c *config.Check, named bool) ([]config.Check, error) {
	switch {
	case c != nil:
		if err := c.ValidateFor(v.Key); err != nil {
			if named {
				return nil, err
			}
			return nil, nil
		}
		return []config.Check{*c}, nil
	}
	if asking := slices.DeleteFunc(slices.Clone(v.Checks), passive); len(asking) > 0 {
		return asking, nil
	}
	usual := config.Check{Kind: config.CheckTCP}
	if v.Proto == config.UDP {
		usual.Kind = config.CheckUDP
	}
	if err := usual.ValidateFor(v.Key); err != nil {
		if named {
			return nil, err
		}
		return nil, nil
	}
	return []config.Check{usual}, nil
}

func passive(c config.Check) bool { return c.Kind == config.CheckPassive }

// askAll asks all at once, as far as there are slots.
func (r *Runner) askAll(ctx context.Context, probes []Probe) []config.CheckState {
	states := make([]config.CheckState, len(probes))
	for _, key := range keysOf(probes) {
		r.table.Probed(key, 1)
		defer r.table.Probed(key, -1)
	}
	var wg sync.WaitGroup
	for i := range probes {
		wg.Go(func() {
			a := r.ask(ctx, r.once, &probes[i])
			states[i] = probes[i].State(&a)
		})
	}
	wg.Wait()
	return states
}

// keysOf returns the services of probes, which are sorted by them.
func keysOf(probes []Probe) (keys []config.Key) {
	for _, p := range probes {
		if len(keys) == 0 || keys[len(keys)-1] != p.Key {
			keys = append(keys, p.Key)
		}
	}
	return keys
}

// ask asks when there is a slot.
func (r *Runner) ask(ctx context.Context, free slots, p *Probe) Answer {
	select {
	case free <- struct{}{}:
		defer func() { <-free }()
	case <-ctx.Done():
		return Answer{}
	}
	return p.Ask(ctx, r.director)
}

// proberKey names a prober within its service. A check keeps its place among the checks
// of a service by what it asks.
type proberKey struct {
	server netip.AddrPort
	probe  string
}

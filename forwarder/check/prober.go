package check

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"uvs/forwarder/config"
)

// prober repeats one check of one server.
type prober struct {
	group *group
	done  chan struct{} // closed when it is no longer wanted

	mu     sync.Mutex // guards what follows
	probe  Probe
	last   Answer
	asked  bool // there is an answer
	status string
	since  time.Time
	good   int // answers in a row
	bad    int
	vip    tally
	own    tally
	seen   sight // of a passive check
}

// tally counts the probes on one path.
type tally struct {
	probes, failed uint64
	times          config.ProbeTimes
}

func (t *tally) count(r *config.ProbeResult) {
	t.probes++
	if !r.OK {
		t.failed++
	}
	if r.Micros > 0 { // nothing was asked by a passive check
		t.times.Add(time.Duration(r.Micros) * time.Microsecond)
	}
	r.Probes, r.Failed, r.Times = t.probes, t.failed, t.times
}

// newProber returns a prober. A server that is held already is down: an earlier director
// has found that out.
func newProber(g *group, held bool) *prober {
	p := &prober{group: g, done: make(chan struct{}), status: unknown, since: time.Now()}
	if held {
		p.status = down
	}
	return p
}

// set changes what to ask, from the next probe on.
func (p *prober) set(probe Probe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probe = probe
}

func (p *prober) stop() { close(p.done) }

// run asks until the context ends or the prober is stopped. The first probes of many
// servers are spread over a tenth of the interval.
func (p *prober) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	wait := time.Duration(rand.Int64N(int64(p.interval()/10) + 1))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		began := time.Now()
		changed := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if changed {
			p.group.changed()
		}
		wait = max(p.interval()-time.Since(began), time.Millisecond)
	}
}

// once asks or looks once, and reports whether the server has become up or down by it.
func (p *prober) once(ctx context.Context) bool {
	probe := p.wanted()
	if probe.Check.Kind == config.CheckPassive {
		return p.look(&probe)
	}
	a := p.group.runner.ask(ctx, p.group.runner.slots, &probe)
	return ctx.Err() == nil && p.learn(&a)
}

func (p *prober) interval() time.Duration {
	return time.Duration(p.wanted().Check.Interval) * time.Millisecond
}

func (p *prober) wanted() Probe {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.probe
}

// learn takes an answer, and reports whether the server has become up or down by it.
func (p *prober) learn(a *Answer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vip.count(&a.VIP)
	p.own.count(&a.Own)
	p.last, p.asked = *a, true
	was := p.status
	if a.VIP.OK {
		p.good, p.bad = p.good+1, 0
		if was == unknown || p.good >= int(p.probe.Check.Rise) {
			p.status = up
		}
	} else {
		p.good, p.bad = 0, p.bad+1
		if p.bad >= int(p.probe.Check.Fall) {
			p.status = down
		}
	}
	if p.status == was {
		return false
	}
	p.since = time.Now()
	p.tell(was)
	return true
}

// tell logs that a server has become up or down. The caller holds mu.
func (p *prober) tell(was string) {
	log := p.group.runner.log.With("service", p.probe.Key.Name(), "server", p.probe.Server.AddrPort().String(),
		"check", p.probe.Check.String(), "result", p.probe.words(&p.last))
	switch {
	case p.status == down:
		log.Warn("a check found a server down", "event", "server-down")
	case was == down:
		log.Info("a check found a server up again", "event", "server-up")
	}
}

// state returns what the prober knows.
func (p *prober) state() config.CheckState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.probe.State(&p.last)
	s.State, s.Since = p.status, p.since
	if !p.asked {
		s.Result = "not asked yet"
		if p.probe.Check.Kind == config.CheckPassive {
			s.Result = "no new connections yet"
		}
	}
	return s
}

// failed is a server that a check with an act finds down.
type failed struct {
	prober *prober
	server netip.AddrPort
	held   bool
	since  time.Time
}

// failing returns the servers of a service that are to be held, and how many may be.
func (g *group) failing(v *config.ServiceState) (all []failed, limit int) {
	able := map[netip.AddrPort]bool{} // servers that have a weight, and whether they are held
	for _, s := range v.Servers {
		if s.Weight > 0 {
			able[s.AddrPort()] = s.Held
		}
	}
	share := 100
	for _, c := range v.Checks {
		if c.Act == config.ActHold {
			share = min(share, int(c.AtMost))
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	known := map[netip.AddrPort]bool{}
	for _, p := range g.order {
		p.mu.Lock()
		server, act, status, since := p.probe.Server.AddrPort(), p.probe.Check.Act, p.status, p.since
		p.mu.Unlock()
		held, has := able[server]
		if act != config.ActHold || status != down || !has || known[server] {
			continue
		}
		known[server] = true
		all = append(all, failed{p, server, held, since})
	}
	return all, len(able) * share / 100
}

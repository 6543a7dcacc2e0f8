package check

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"uvs/forwarder/config"
	"uvs/forwarder/service"
)

// group are the probers of one service.
type group struct {
	runner  *Runner
	key     config.Key
	service *service.Service // as last followed; guarded by Runner.mu

	undecided atomic.Int32 // changes since a decision began that has not ended

	mu      sync.Mutex // guards what follows
	probers map[proberKey]*prober
	order   []*prober // as the servers and the checks were added
	limited map[*prober]bool
}

// follow brings the probers in line with a service, nil if it is gone, and returns the new
// ones.
func (g *group) follow(v *service.Service) (fresh []*prober) {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.probers
	g.probers, g.order = map[proberKey]*prober{}, nil
	if v != nil {
		for _, s := range v.Servers {
			for _, c := range v.Checks {
				key := proberKey{s.Addr, c.Name()}
				p := old[key]
				if p == nil {
					p = newProber(g, s.Held())
					fresh = append(fresh, p)
				}
				p.set(Probe{v.Key, *s.Options(), c})
				g.probers[key] = p
				g.order = append(g.order, p)
			}
		}
	}
	for key, p := range old {
		if g.probers[key] != p {
			p.stop()
		}
	}
	return fresh
}

// states returns what the checks of the service have found.
func (g *group) states() []config.CheckState {
	g.mu.Lock()
	defer g.mu.Unlock()
	held := map[netip.AddrPort]bool{}
	if v, err := g.runner.table.State(g.key); err == nil {
		for _, s := range v.Servers {
			held[s.AddrPort()] = s.Held
		}
	}
	all := make([]config.CheckState, 0, len(g.order))
	for _, p := range g.order {
		s := p.state()
		s.Held = held[s.Server]
		s.Limited = g.limited[p]
		all = append(all, s)
	}
	return all
}

// changed has the holds decided after a change. While they are being decided it only leaves
// word: who decides does so once more, for all changes that have come since.
func (g *group) changed() {
	if g.undecided.Add(1) > 1 {
		return
	}
	for {
		seen := g.undecided.Load()
		g.decide()
		if g.undecided.CompareAndSwap(seen, 0) {
			return
		}
	}
}

// decide holds the servers that are down, as many as may be, and no others. Those that
// are held already come first, then those that have been down for longest.
func (g *group) decide() {
	v, err := g.runner.table.State(g.key)
	if err != nil {
		return
	}
	failing, limit := g.failing(&v)
	slices.SortStableFunc(failing, func(a, b failed) int {
		if a.held != b.held {
			if a.held {
				return -1
			}
			return 1
		}
		return a.since.Compare(b.since)
	})
	hold := map[netip.AddrPort]bool{}
	limited := map[*prober]bool{}
	for i, f := range failing {
		if i < limit {
			hold[f.server] = true
		} else {
			limited[f.prober] = true
		}
	}
	g.mu.Lock()
	news := g.newlyLimited(limited)
	g.limited = limited
	g.mu.Unlock()
	for _, p := range news {
		g.runner.log.Warn("a server is down and not held: as many are held as may be", "event", "server-hold-limited",
			"service", g.key.Name(), "server", p.state().Server.String(), "at_most", limit)
	}
	turns := func(s config.ServerState) bool { return s.Held != hold[s.AddrPort()] }
	if !slices.ContainsFunc(v.Servers, turns) {
		return
	}
	turned, err := g.runner.director.Hold(g.key, hold)
	if err != nil {
		return // the service has been removed
	}
	for _, s := range turned {
		g.tell(s, hold[s.AddrPort()])
	}
}

// newlyLimited returns the probers of servers that have just become limited. The caller
// holds mu.
func (g *group) newlyLimited(now map[*prober]bool) (news []*prober) {
	for p := range now {
		if !g.limited[p] {
			news = append(news, p)
		}
	}
	return news
}

// tell logs that a server is held, or is so no longer.
func (g *group) tell(s config.Server, on bool) {
	log := g.runner.log.With("service", g.key.Name(), "server", s.AddrPort().String(), "weight", s.Weight)
	if on {
		log.Warn("a server is held: it takes no new connections until its check succeeds", "event", "server-held")
		return
	}
	log.Info("a server is no longer held", "event", "server-released")
}

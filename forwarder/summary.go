package forwarder

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/service"
)

// Summary returns the director at a glance.
func (fw *Forwarder) Summary(q config.SummaryQuery) config.Summary {
	now := time.Now()
	s := config.Summary{
		Time: now, Uptime: uint64(now.Sub(fw.started) / time.Millisecond), Totals: fw.Totals(),
		Services: []config.ServiceSummary{}, Decisions: []config.Decision{},
	}
	if q.Decisions {
		s.Decisions = fw.decided.since(fw, q.After, now)
	}
	all, stats := []*service.Service{}, map[*service.Service]config.Stats{}
	for v := range fw.Load().All() {
		all, stats[v] = append(all, v), v.Counters.Stats()
	}
	slices.SortStableFunc(all, func(a, b *service.Service) int {
		return cmp.Or(cmp.Compare(stats[b].CPS, stats[a].CPS), cmp.Compare(stats[b].InPPS, stats[a].InPPS))
	})
	tick := tick(now.Sub(fw.started))
	for i, v := range all {
		asked := q.Service != nil && v.Key == q.Service.Normal()
		if i >= q.Services && !asked {
			s.Others++
			continue
		}
		of := q
		if q.Service != nil && !asked {
			of.Servers = 0
		}
		s.Services = append(s.Services, summarize(v, stats[v], of, tick))
	}
	return s
}

// serverPart is what is worked out for every server; the rest only for those listed.
type serverPart struct {
	of            *service.Server
	weight        int32
	eligible      bool
	cps, conns    uint64
	ideal, actual float64
}

// summarize returns a service and the first of its servers.
func summarize(v *service.Service, stats config.Stats, q config.SummaryQuery, now conntrack.Tick) config.ServiceSummary {
	s := config.ServiceSummary{Service: v.Key, Scheduler: v.Scheduler, Stats: stats, Servers: []config.ServerSummary{}}
	parts := make([]serverPart, len(v.Servers))
	var weight, rate, total float64
	for i, server := range v.Servers {
		of := server.Counters.Stats()
		p := &parts[i]
		*p = serverPart{of: server, weight: server.Weight(), eligible: server.Eligible(), cps: of.CPS, conns: of.Conns}
		rate, total = rate+float64(of.CPS), total+float64(of.Conns)
		s.Active += uint64(max(0, server.Active()))
		s.Inactive += uint64(max(0, server.Inactive()))
		if p.eligible {
			s.Eligible++
			weight += float64(p.weight)
		}
	}
	for i := range parts {
		parts[i].share(weight, rate, total)
	}
	s.Jain, s.MaxOverMean = fairness(parts)
	sortServers(parts, q.Sort)
	s.First = min(len(parts), q.First)
	shown := parts[s.First:min(len(parts), s.First+q.Servers)]
	for i := range shown {
		s.Servers = append(s.Servers, shown[i].summary(now))
	}
	s.Others = len(parts) - len(shown)
	return s
}

// share works out the server's ideal and actual part, of the sums over all servers.
func (p *serverPart) share(weight, rate, total float64) {
	if p.eligible {
		p.ideal = float64(p.weight) / weight
	}
	switch {
	case rate > 0:
		p.actual = float64(p.cps) / rate
	case total > 0:
		p.actual = float64(p.conns) / total
	}
}

// fairness returns Jain's index of actual per ideal parts, and the largest of these to
// their mean (Jain, Chiu and Hawe, DEC-TR-301).
func fairness(parts []serverPart) (jain, maxOverMean float64) {
	var sum, squares, most, n float64
	for i := range parts {
		if parts[i].ideal > 0 {
			x := parts[i].actual / parts[i].ideal
			sum, squares, most, n = sum+x, squares+x*x, max(most, x), n+1
		}
	}
	if squares == 0 {
		return 0, 0
	}
	return sum * sum / (n * squares), most * n / sum
}

// load is the figure by which wlc compares.
func (p *serverPart) load() float64 { return float64(p.of.Overhead()) / float64(max(1, p.weight)) }

func (p *serverPart) summary(now conntrack.Tick) config.ServerSummary {
	s := p.of
	r := config.ServerSummary{Address: s.RealServer.Addr, Method: s.Method().String(), Weight: p.weight,
		Ideal: p.ideal, Actual: p.actual, Active: uint64(max(0, s.Active())), Inactive: uint64(max(0, s.Inactive())),
		CPS: p.cps, Load: p.load(), State: config.ServerOK}
	switch {
	case r.Weight <= 0 && s.Draining(now):
		r.State = config.ServerDraining
	case r.Weight <= 0:
		r.State = config.ServerQuiesced
	case s.Overloaded():
		r.State = config.ServerOverloaded
	}
	return r
}

// sortServers puts those with most of what is asked for first; servers with the same stay
// in the order of addition.
func sortServers(all []serverPart, by string) {
	value := map[string]func(p *serverPart) float64{
		"connections": func(p *serverPart) float64 { return float64(p.of.Active() + p.of.Inactive()) },
		"rate":        func(p *serverPart) float64 { return float64(p.cps) },
		"weight":      func(p *serverPart) float64 { return float64(p.weight) },
		"load":        (*serverPart).load,
		"actual":      func(p *serverPart) float64 { return p.actual },
	}[by]
	if value == nil {
		return
	}
	slices.SortFunc(all, func(a, b serverPart) int {
		return cmp.Or(cmp.Compare(value(&b), value(&a)), cmp.Compare(a.of.Seq, b.of.Seq))
	})
}

// decided keeps the last decisions while somebody asks for summaries. Between two summaries
// what does not fit is not kept, which costs the workers next to nothing.
type decided struct {
	mu     sync.Mutex
	reader *arrivalReader // nil: nobody asks
	asked  time.Time      // last
	end    *time.Timer
	number uint64            // of the last decision
	kept   []config.Decision // the last ones, the oldest first
}

const (
	decisionsKept = 64
	decidedFor    = 5 * time.Second // after the last summary
)

// since returns the decisions after a number, of those that are kept.
func (d *decided) since(fw *Forwarder, after uint64, now time.Time) []config.Decision {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = now
	if d.reader == nil {
		d.reader = fw.arrivals.start(decisionsKept, true)
		d.end = time.AfterFunc(decidedFor, func() { d.stop(fw) })
	} else {
		d.end.Reset(decidedFor)
		d.keep(fw)
	}
	if after > d.number {
		after = 0
	}
	all := []config.Decision{}
	for _, one := range d.kept {
		if one.Number > after {
			all = append(all, one)
		}
	}
	return all
}

// keep takes what has come. The caller holds mu, and there is a reader.
func (d *decided) keep(fw *Forwarder) {
	for len(d.reader.changes) > 0 {
		c := <-d.reader.changes
		d.number++
		one := config.Decision{Number: d.number, Time: fw.started.Add(c.at), Client: c.client, Virtual: c.virtual}
		if s := fw.Server(c.server); s != nil {
			one.Server = s.RealServer.Addr
		}
		d.kept = append(d.kept, one)
	}
	d.kept = slices.Clone(d.kept[max(0, len(d.kept)-decisionsKept):])
}

// stop ends the watch, unless somebody has asked since its time was up.
func (d *decided) stop(fw *Forwarder) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.reader == nil || time.Since(d.asked) < decidedFor {
		return
	}
	d.keep(fw)
	fw.arrivals.remove(d.reader)
	d.reader = nil
}

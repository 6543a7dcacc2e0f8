package service

import (
	"time"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// Want is what a copy of a table is to hold.
type Want struct {
	Services []*Service
	Servers  []*Server // others, such as removed ones; those that are configured bring their service
	Flow     *frame.Flow
	Clock    func() time.Duration
}

// CopyTo gives the empty table n copies of some services and servers, with their counts and
// the state of their schedulers. Packets that match others match nothing there. The two
// share nothing that changes; traffic counters of the copies begin at 0. The names of
// services whose scheduler cannot be copied, and begins anew, are returned.
func (s *Table) CopyTo(n *Table, want Want) (anew []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := copying{from: s, to: n, want: &want, servers: map[*Server]*Server{}, others: map[*sched.RealServer]*sched.RealServer{}}
	was := s.snapshot.Load()
	snapshot := &Snapshot{count: was.count, ftp: was.ftp, any: was.any, marks: was.marks, ServersBegin: was.ServersBegin}
	for _, server := range want.Servers {
		if h := server.service.Load(); h != nil && h.latest != nil {
			want.Services = append(want.Services, h.latest)
		}
	}
	for _, v := range want.Services {
		t := targetOf(v.Key)
		i := t.shard()
		if snapshot.shard[i] == nil {
			snapshot.shard[i] = map[Target]*Service{}
		}
		if snapshot.shard[i][t] == nil {
			snapshot.shard[i][t] = c.service(v)
		}
	}
	for _, server := range want.Servers {
		c.server(server)
	}
	n.snapshot.Store(snapshot)
	n.HasDraining.Store(s.HasDraining.Load())
	return c.anew
}

// copying is a CopyTo under way.
type copying struct {
	from, to *Table
	want     *Want
	servers  map[*Server]*Server
	others   map[*sched.RealServer]*sched.RealServer // removed, forgotten, and still in a cache
	anew     []string
}

func (c *copying) service(v *Service) *Service {
	n := *v
	n.ref = &serviceRef{Counters: newCounters(nil), total: c.to.Total}
	n.ref.Offer.mss.Store(v.Offer.mss.Load())
	n.ref.Offer.lacks.Store(v.Offer.lacks.Load())
	n.Counters, n.Offer = n.ref.Counters, &n.ref.Offer
	n.Servers = make([]*Server, len(v.Servers))
	for i, server := range v.Servers {
		n.Servers[i] = c.server(server)
		n.Servers[i].service.Store(n.ref)
	}
	n.Sched = c.scheduler(v, n.Servers)
	n.ref.sched.Store(&n.Sched)
	n.ref.latest = &n
	return &n
}

// scheduler copies the scheduler of a service, whose copies of servers are given.
func (c *copying) scheduler(v *Service, servers []*Server) sched.Scheduler {
	switch s := v.Sched.(type) {
	case sched.Copier:
		return s.Copy(sched.Copying{Server: c.real, Flow: c.want.Flow, Clock: c.want.Clock})
	case noScheduler:
		return s
	}
	c.anew = append(c.anew, v.Key.String())
	n, err := c.to.newScheduler(v.Scheduler, v.Flags)
	if err != nil {
		return noScheduler{}
	}
	var all []*sched.RealServer
	for _, server := range servers {
		all = append(all, server.RealServer)
	}
	sched.AddAll(n, all)
	return n
}

// real returns the copy of a server as schedulers know it.
func (c *copying) real(s *sched.RealServer) *sched.RealServer {
	if server := c.from.Server(s.ID); server != nil && server.RealServer == s {
		return c.server(server).RealServer
	}
	if c.others[s] == nil {
		c.others[s] = s.Copy()
	}
	return c.others[s]
}

func (c *copying) server(s *Server) *Server {
	if n := c.servers[s]; n != nil {
		return n
	}
	n := &Server{RealServer: s.RealServer.Copy(), Key: s.Key, Counters: newCounters(nil), Seq: s.Seq, drainStart: s.drainStart, locals: s.locals}
	c.servers[s] = n
	n.options.Store(s.options.Load())
	n.refs.Store(s.refs.Load())
	n.replyConns.Store(s.replyConns.Load())
	n.WasMasq.Store(s.WasMasq.Load())
	n.RepliesGuarded.Store(s.RepliesGuarded.Load())
	n.FTPData.Store(s.FTPData.Load())
	n.held.Store(s.held.Load())
	if n.probes = s.probes; n.probes {
		var none sched.Scheduler = noScheduler{}
		ref := &serviceRef{Counters: newCounters(nil), total: newCounters(nil)}
		ref.sched.Store(&none)
		n.service.Store(ref)
	}
	n.Path.v.Store(s.Path.v.Load())
	n.Policy.Store(s.Policy.Load())
	n.NeedsPolicy.Store(s.NeedsPolicy.Load())
	n.drainEnd.Store(s.drainEnd.Load())
	c.to.numbers.used = max(c.to.numbers.used, c.from.numbers.used)
	c.to.numbers.put(n)
	return n
}

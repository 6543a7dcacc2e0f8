package sim

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// Pick is one connection that arrived.
type Pick struct {
	At     time.Duration
	Flow   frame.Flow
	Server int           // from 1; 0 if none could take it
	Record *sched.Record // only if asked for; valid until the next pick
}

// Run runs a workload. If see is not nil it is called for each pick, with a
// record of the arithmetic if explain is set.
func Run(w Workload, explain bool, see func(Pick)) (*Report, error) {
	if err := w.Check(); err != nil {
		return nil, err
	}
	r := newRun(w)
	if err := r.schedule(w.Scheduler); err != nil {
		return nil, err
	}
	if explain {
		r.record = new(sched.Record)
	}
	for range w.Connections {
		r.now += seconds(w.Arrivals.draw(r.arrivals, 1/w.Rate))
		if err := r.runEvents(r.now); err != nil {
			return nil, err
		}
		r.runEnds(r.now)
		p := r.arrive()
		r.report.count(r, p)
		if see != nil {
			see(p)
		}
	}
	r.report.finish(r.now)
	return &r.report, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// cubeRootSquared is u^(2/3), the inverse of the tail of a Pareto law of shape 1.5.
func cubeRootSquared(u float64) float64 { return math.Pow(u, 2.0/3) }

// run is a simulation in progress.
type run struct {
	Workload
	now       time.Duration
	scheduler sched.Scheduler
	servers   []*server // by number; nil until added
	order     []*server // in the service, in order of addition
	events    []Event
	ends      ends
	record    *sched.Record
	report    Report

	arrivals, durations, clients *rand.Rand
	zipf                         *rand.Zipf
}

type server struct {
	*sched.RealServer
	Server
	number int
	epoch  int // failures so far: connections of an earlier one are gone
	in     bool
}

func newRun(w Workload) *run {
	w.Clients = defaultTo(w.Clients, 100)
	w.Addresses = defaultTo(w.Addresses, 1)
	r := &run{
		Workload:  w,
		events:    sorted(w.Events),
		arrivals:  rand.New(rand.NewPCG(w.Seed, 1)),
		durations: rand.New(rand.NewPCG(w.Seed, 2)),
		clients:   rand.New(rand.NewPCG(w.Seed, 3)),
	}
	if w.Popularity != 0 {
		r.zipf = rand.NewZipf(r.clients, w.Popularity, 1, uint64(w.Addresses-1))
	}
	for i, s := range w.Servers {
		r.newServer(i+1, s)
	}
	r.report = Report{Scheduler: w.Scheduler, Seed: w.Seed}
	return r
}

func defaultTo(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// newServer adds a new server with a number to the service.
func (r *run) newServer(number int, s Server) *server {
	if s.Slow == 0 {
		s.Slow = 1
	}
	addr := s.At
	if !addr.IsValid() {
		addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(number >> 8), byte(number)}), 80)
	}
	v := &server{
		RealServer: sched.NewRealServer(sched.ID(number), addr, s.Weight, s.Upper, s.Lower),
		Server:     s,
		number:     number,
		in:         true,
	}
	for len(r.servers) < number {
		r.servers = append(r.servers, nil)
	}
	r.servers[number-1] = v
	r.order = append(r.order, v)
	return v
}

// schedule gives the service a new scheduler.
func (r *run) schedule(name string) error {
	s, err := sched.New(name, r.Flags, sched.WithSeed(r.Seed),
		sched.WithClock(func() time.Duration { return r.now }))
	if err != nil {
		return err
	}
	r.scheduler = s
	add := sched.AddAll
	if r.OneByOne && r.report.Connections == 0 {
		add = addEach
	}
	if name != r.Scheduler {
		r.report.Scheduler += ", then " + name
	}
	all := make([]*sched.RealServer, len(r.order))
	for i, s := range r.order {
		all[i] = s.RealServer
	}
	add(s, all)
	return nil
}

func addEach(s sched.Scheduler, servers []*sched.RealServer) {
	for _, server := range servers {
		s.Add(server)
	}
}

// runEvents runs the events up to a time.
func (r *run) runEvents(until time.Duration) error {
	for len(r.events) > 0 && r.events[0].At <= until {
		e := r.events[0]
		r.events = r.events[1:]
		r.runEnds(e.At)
		if err := r.runEvent(e); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) runEvent(e Event) error {
	if e.Do == "scheduler" {
		return r.schedule(e.Name)
	}
	var s *server
	if e.Server <= len(r.servers) {
		s = r.servers[e.Server-1]
	}
	switch {
	case e.Do == "add" || e.Do == "recover":
		r.add(s, e)
	case s == nil:
	case e.Do == "fail":
		r.remove(s)
		r.dropConnections(s)
	case e.Do == "remove":
		r.remove(s)
	case e.Do == "weight":
		s.SetWeight(int32(e.Values[0]))
		r.scheduler.Update(s.RealServer)
	case e.Do == "limit":
		s.SetThresholds(uint32(e.Values[0]), uint32(e.value(1, 0)))
		r.scheduler.Update(s.RealServer)
	}
	return nil
}

func (r *run) add(s *server, e Event) {
	switch {
	case s == nil:
		s = r.newServer(e.Server, Server{Weight: int32(e.value(0, 1))})
	case s.in:
		return
	default:
		upper, lower := s.Thresholds()
		s.Revive(int32(e.value(0, int(s.RealServer.Weight()))), upper, lower)
		s.in = true
		r.order = append(r.order, s)
	}
	r.scheduler.Add(s.RealServer)
}

func (r *run) remove(s *server) {
	if !s.in {
		return
	}
	s.in = false
	r.order = slices.DeleteFunc(r.order, func(o *server) bool { return o == s })
	r.scheduler.Remove(s.RealServer)
}

// dropConnections ends the connections of a failed server; the new epoch makes their ends in
// the queue void.
func (r *run) dropConnections(s *server) {
	s.epoch++
	r.report.Broken += int(s.Active())
	s.AddCounts(-s.Active(), -s.Inactive(), 0)
}

// arrive picks a server for a new connection.
func (r *run) arrive() Pick {
	p := Pick{At: r.now, Flow: r.flow(), Record: r.record}
	chosen := r.scheduler.Pick(&p.Flow, r.record)
	lasts := r.Durations.draw(r.durations, time.Duration(r.Lasts).Seconds())
	if chosen == nil {
		return p
	}
	s := r.servers[chosen.ID-1]
	p.Server = s.number
	r.count(s, 1, 0)
	heap.Push(&r.ends, end{at: r.now + seconds(lasts*s.Slow), server: s, epoch: s.epoch})
	return p
}

func (r *run) flow() frame.Flow {
	if r.Flow != nil {
		return r.Flow(r.report.Connections)
	}
	client, address := r.clients.IntN(r.Clients), 0
	switch {
	case r.zipf != nil:
		address = int(r.zipf.Uint64())
	case r.Addresses > 1:
		address = r.clients.IntN(r.Addresses)
	}
	port := uint16(1024 + r.clients.IntN(64512))
	return frame.FlowOf(frame.ProtoTCP,
		netip.AddrPortFrom(addrFrom(172, 16, client), port),
		netip.AddrPortFrom(addrFrom(10, 2, address), 80))
}

// addrFrom returns the nth address after a.b.0.0.
func addrFrom(a, b byte, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{a, b + byte(n>>16), byte(n >> 8), byte(n)})
}

func (r *run) count(s *server, active, inactive int32) {
	s.AddCounts(active, inactive, 0)
	r.scheduler.Count(s.RealServer)
}

// runEnds ends connections, and removes closed ones, up to a time.
func (r *run) runEnds(until time.Duration) {
	for len(r.ends) > 0 && r.ends[0].at <= until {
		e := heap.Pop(&r.ends).(end)
		switch {
		case e.epoch != e.server.epoch:
		case e.closed:
			r.count(e.server, 0, -1)
		case r.Lingers == 0:
			r.count(e.server, -1, 0)
		default:
			r.count(e.server, -1, +1)
			e.at, e.closed = e.at+time.Duration(r.Lingers), true
			heap.Push(&r.ends, e)
		}
	}
}

// end is the end of a connection, or the removal of a closed one.
type end struct {
	at     time.Duration
	server *server
	epoch  int
	closed bool
}

// ends is a heap by time. The order of two ends at the same time does not matter.
type ends []end

func (h ends) Len() int           { return len(h) }
func (h ends) Less(i, j int) bool { return h[i].at < h[j].at }
func (h ends) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *ends) Push(x any)        { *h = append(*h, x.(end)) }
func (h *ends) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

package sim

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// Otherwise is what is to be otherwise than in a recording, all the time. The zero value
// changes nothing: then only what the scheduler remembered from before the recording may
// make a difference, such as whose turn it was.
type Otherwise struct {
	Scheduler string // empty: as recorded, as are the flags then
	Flags     sched.Flags
	Weights   map[netip.AddrPort]int32 // by server; those that are not here have the recorded ones
}

// Comparison is what happened beside what would have happened.
type Comparison struct {
	Recorded *Report `json:"recorded"`
	Replayed *Report `json:"replayed"`

	Moved        int    `json:"moved"`         // connections that would have had another server, or none
	Clients      int    `json:"clients"`       // addresses they came from
	MovedClients int    `json:"moved_clients"` // those with a connection that moved
	Lost         uint64 `json:"lost"`          // lines that the recording misses
}

// Replay runs a recording a second time. Connections come, count as active and end when
// they did, wherever they go.
//
// It fails if it knows no such scheduler, or a server with another weight is in no line.
func Replay(lines []Line, o Otherwise) (*Comparison, error) {
	if err := o.check(lines); err != nil {
		return nil, err
	}
	was, err := newPlayer(lines[0].Service, Otherwise{})
	if err != nil {
		return nil, err
	}
	was.fixed = true
	is, err := newPlayer(lines[0].Service, o)
	if err != nil {
		return nil, err
	}
	c := &Comparison{Recorded: &was.report, Replayed: &is.report}
	clients := map[netip.Addr]bool{} // moved
	for i := range lines[1:] {
		l := &lines[1+i]
		c.Lost += l.Lost
		before, err := was.play(l)
		if err != nil {
			return nil, err
		}
		after, err := is.play(l)
		if err != nil {
			return nil, err
		}
		if l.Do != New && l.Do != Refused {
			continue
		}
		moved := before != after
		if moved {
			c.Moved++
		}
		clients[l.Client.Addr()] = clients[l.Client.Addr()] || moved
	}
	c.Clients = len(clients)
	for _, moved := range clients {
		if moved {
			c.MovedClients++
		}
	}
	was.report.finish(was.now)
	is.report.finish(is.now)
	return c, nil
}

// player is a run whose connections come from a recording.
type player struct {
	*run
	Otherwise
	fixed   bool // connections go where they went
	numbers map[netip.AddrPort]int
	conns   map[uint32]*played
}

// played is a connection or template that has not ended.
type played struct {
	server *server // nil: none took it
	active bool
}

func newPlayer(s *Recorded, o Otherwise) (*player, error) {
	w := Workload{Scheduler: s.Scheduler, Flags: s.Flags, Seed: 1, OneByOne: true}
	if o.Scheduler != "" {
		w.Scheduler, w.Flags = o.Scheduler, o.Flags
	}
	p := &player{run: newRun(w), Otherwise: o, numbers: map[netip.AddrPort]int{}, conns: map[uint32]*played{}}
	for _, server := range s.Servers {
		p.newServer(server).AddCounts(server.Active, server.Inactive, 0)
	}
	return p, p.schedule(w.Scheduler)
}

// play plays a line and returns the number of the server that a connection has, from 1.
// 0: none took it, or the line is about something else.
func (p *player) play(l *Line) (int, error) {
	p.now = time.Duration(l.At * float64(time.Second))
	switch l.Do {
	case Servers:
		return 0, p.change(l.Service)
	case Template:
		p.conns[l.Conn] = &played{server: p.choose(l)}
	case New, Refused:
		return p.arrive(l), nil
	case TemplateGone:
		delete(p.conns, l.Conn)
	case Active, Inactive, Gone:
		p.become(l)
	}
	return 0, nil
}

func (p *player) arrive(l *Line) int {
	pick := Pick{At: p.now, Flow: frame.FlowOf(l.Protocol, l.Client, l.Virtual)}
	s := p.choose(l)
	if l.Conn != 0 {
		p.conns[l.Conn] = &played{server: s}
	}
	if s != nil {
		pick.Server = s.number
		if l.Conn != 0 {
			p.count(s, 0, 1)
		}
	}
	p.report.count(p.run, pick)
	return pick.Server
}

// choose returns the server for a new connection.
func (p *player) choose(l *Line) *server {
	if p.fixed {
		return p.server(l.Server)
	}
	if l.With != 0 {
		if other := p.conns[l.With]; other != nil {
			return other.server
		}
		return p.server(l.Server) // that of a template from before
	}
	flow := frame.FlowOf(l.Protocol, l.Client, l.Virtual)
	if chosen := p.scheduler.Pick(&flow, nil); chosen != nil {
		return p.servers[chosen.ID-1]
	}
	return nil
}

// become changes what a connection counts as. One from before the recording is with the
// server that it had.
func (p *player) become(l *Line) {
	c := p.conns[l.Conn]
	if c == nil {
		c = &played{server: p.server(l.Server), active: l.Do == Inactive || l.WasActive}
		p.conns[l.Conn] = c
	}
	was := c.active
	c.active = l.Do == Active
	if l.Do == Gone {
		delete(p.conns, l.Conn)
	}
	if c.server == nil {
		return
	}
	active, inactive := int32(0), int32(0)
	if was {
		active--
	} else {
		inactive--
	}
	switch l.Do {
	case Active:
		active++
	case Inactive:
		inactive++
	}
	p.count(c.server, active, inactive)
	if n := c.server.number; n <= len(p.report.Servers) {
		share := &p.report.Servers[n-1]
		share.PeakActive = max(share.PeakActive, c.server.Active())
	}
}

// server returns the server with an address; nil if there was none.
func (p *player) server(addr netip.AddrPort) *server {
	if n := p.numbers[addr]; n != 0 {
		return p.servers[n-1]
	}
	return nil
}

// newServer adds a server that the service did not have before.
func (p *player) newServer(s RecordedServer) *server {
	number := len(p.servers) + 1
	p.numbers[s.Address] = number
	return p.run.newServer(number, Server{Weight: p.weight(s), Upper: s.Upper, Lower: s.Lower, At: s.Address})
}

func (p *player) weight(s RecordedServer) int32 {
	if w, ok := p.Weights[s.Address]; ok {
		return w
	}
	return s.Weight
}

// change makes the service what it was from now on, as far as it is not otherwise.
func (p *player) change(now *Recorded) error {
	for _, s := range slices.Clone(p.order) {
		if !slices.ContainsFunc(now.Servers, func(r RecordedServer) bool { return r.Address == s.Addr }) {
			p.remove(s)
		}
	}
	for _, r := range now.Servers {
		p.changeServer(r)
	}
	if p.Otherwise.Scheduler != "" || now.Scheduler == p.scheduler.Name() && now.Flags == p.Workload.Flags {
		return nil
	}
	p.Workload.Flags = now.Flags
	return p.schedule(now.Scheduler)
}

func (p *player) changeServer(r RecordedServer) {
	s := p.server(r.Address)
	switch {
	case s == nil:
		s = p.newServer(r)
		p.scheduler.Add(s.RealServer)
	case !s.in:
		s.Revive(p.weight(r), r.Upper, r.Lower)
		s.in = true
		p.order = append(p.order, s)
		p.scheduler.Add(s.RealServer)
	default:
		upper, lower := s.Thresholds()
		if s.RealServer.Weight() == p.weight(r) && upper == r.Upper && lower == r.Lower {
			return
		}
		s.SetWeight(p.weight(r))
		s.SetThresholds(r.Upper, r.Lower)
		p.scheduler.Update(s.RealServer)
	}
}

func (o *Otherwise) check(lines []Line) error {
	if o.Scheduler != "" {
		if err := known(o.Scheduler); err != nil {
			return err
		}
	}
	servers := map[netip.AddrPort]bool{}
	for i := range lines {
		if lines[i].Service == nil {
			continue
		}
		for _, s := range lines[i].Service.Servers {
			servers[s.Address] = true
		}
	}
	for addr := range o.Weights {
		if !servers[addr] {
			return fmt.Errorf("weight of %v: the recording has no such server", addr)
		}
	}
	return nil
}

package forwarder

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/net/bpf"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/service"
	"uvs/modes"
)

// twin is a copy of a director for a dry run: what concerns one packet, with the state of
// now, and a worker that carries packets through the very code that forwards. It shares
// with the director what nobody changes (the view, the links, the settings) and asks its
// neighbour table without leaving a trace there; all else is its own, so whatever the code
// does, the director does not notice. It belongs to one goroutine.
type twin struct {
	*Forwarder
	w      *worker
	reader *conntrack.Reader
	sent   sink
	// waiting are the frames that would be sent once the MAC address of their next hop is
	// known.
	waiting []frame.Frame
	anew    []string // services whose scheduler could not be copied
}

// newTwin returns a twin for a packet, which has been parsed.
func (fw *Forwarder) newTwin(f *frame.Frame) (*twin, error) {
	t := &twin{Forwarder: &Forwarder{
		conf:  Config{HostLink: fw.conf.HostLink, TOA: fw.conf.TOA, LocalPorts: fw.conf.LocalPorts},
		log:   slog.New(slog.DiscardHandler),
		modes: modes.NewSet(modes.Settings{TOA: fw.conf.TOA}), cookies: fw.cookies, started: fw.started,
		forgotten: new(atomic.Uint64), sync: &synchronization{},
		gone: goneCounters{new(atomic.Uint64), new(atomic.Uint64), new(atomic.Uint64)},
	}}
	t.neigh = peeker{fw.neigh, &t.waiting}
	t.conf.Driver, t.conf.Neighbours = &t.sent, t.neigh
	if fw.conf.Guard != nil {
		t.conf.Guard = asGuard(fw.conf.Guard)
	}
	t.Table = service.New(t.newScheduler)
	t.accounts.restore(nil)
	t.guardQueue.wake = make(chan struct{}, 1)
	t.sync.backup.Store(fw.sync.backup.Load())
	t.view.Store(fw.view.Load())
	t.links.Store(fw.links.Load())
	t.rules.Store(fw.rules.Load())
	t.sysctl.Store(fw.sysctl.Load())
	t.overload.rate.Store(fw.overload.rate.Load())
	t.overload.counter.Store(fw.overload.counter.Load())
	t.nextLocal.Store(fw.nextLocal.Load())
	fw.sip.mu.Lock()
	t.sip.key, t.sip.used, t.sip.text = fw.sip.key, fw.sip.used, map[conntrack.Ref]string{}
	fw.sip.mu.Unlock()
	if err := t.copyFrom(fw, f); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *twin) close() {
	t.w.reader.Close()
	t.reader.Close()
	t.conns.Close()
}

// copyFrom copies what concerns a packet: the services it may match, the connections it may
// belong to, and their servers.
func (t *twin) copyFrom(fw *Forwarder, f *frame.Frame) error {
	r := fw.conns.Reader()
	defer r.Close()
	r.Enter()
	defer r.Exit()
	c := concern{fw: fw, reader: r}
	c.of(f)
	var err error
	if t.conns, err = fw.conns.CopyFor(len(c.conns), t.connGone); err != nil {
		return err
	}
	t.reader = t.conns.Reader()
	t.locals = fw.locals.CopyFor(t.reader)
	want := service.Want{Services: c.services, Servers: c.servers, Flow: &c.scheduled, Clock: t.clock.now}
	t.clock.set(time.Since(t.started))
	t.others = fw.Load()
	t.anew = fw.CopyTo(t.Table, want)
	t.reader.Enter()
	c.copyTo(t)
	t.reader.Exit()
	t.w = &worker{fw: t.Forwarder, name: "dry run", port: &t.sent, account: t.accounts.open("dry run", 0, &t.sent),
		reader: t.conns.Reader(), frags: frame.NewReassembler(frame.FragmentMemory), tx: txQueue{driver: &t.sent, own: -1}}
	return nil
}

// concern is what concerns a packet.
type concern struct {
	fw        *Forwarder
	reader    *conntrack.Reader
	scheduled frame.Flow // what a scheduler may be asked about
	services  []*service.Service
	servers   []*service.Server
	conns     []*conntrack.Conn // with what they depend on, before them
}

func (c *concern) of(f *frame.Frame) {
	view := c.fw.view.Load()
	flow := f.Flow
	c.flow(f, &flow, view.Mark(&f.Flow))
	if quoted, ok := modes.Embedded(f); ok {
		back := quoted.Reverse()
		c.flow(f, &back, view.Mark(&f.Flow))
	}
	if _, inner, ok := modes.QuotedTunnel(f); ok {
		c.flow(f, &inner, 0)
	}
	if by, ok := view.ServerFlow(&flow); ok {
		c.servers = append(c.servers, by.Server)
		back := flow.Reverse()
		back.SetDst(by.Service.Addr)
		back.SetPorts(back.SrcPort(), by.Service.Port)
		c.templateOf(f, &back, by.Service)
	}
}

// flow adds what concerns a flow, that of a packet or one quoted in it.
func (c *concern) flow(f *frame.Frame, flow *frame.Flow, mark uint32) {
	c.scheduled = *flow
	key := *flow
	if isIPsec(key.Proto()) {
		key = keyExchange(flow)
	}
	if conn, _ := c.reader.Lookup(&key); conn != nil {
		c.conn(conn)
	}
	if conn := c.reader.Expected(&key); conn != nil {
		c.conn(conn)
	}
	back := flow.Reverse()
	if conn, _ := c.reader.Lookup(&back); conn != nil {
		c.conn(conn)
	}
	if svc := c.fw.Load().Match(flow, mark); svc != nil {
		c.services = append(c.services, svc)
		c.templateOf(f, flow, svc)
	}
}

// templateOf adds the template of a client.
func (c *concern) templateOf(f *frame.Frame, flow *frame.Flow, svc *service.Service) {
	if svc.Persistent == 0 {
		return
	}
	if k, ok := (&worker{fw: c.fw}).templateKey(f, flow, svc); ok {
		if ct := c.reader.LookupTagged(&k.flow, &k.tag); ct != nil {
			c.conn(ct)
		}
	}
}

// conn adds a connection, after the one that it depends on.
func (c *concern) conn(conn *conntrack.Conn) {
	if slices.Contains(c.conns, conn) {
		return
	}
	if conn.Control != 0 {
		c.conn(c.fw.conns.At(conn.Control))
	}
	c.conns = append(c.conns, conn)
	if s := c.fw.Server(conn.Server); s != nil {
		c.servers = append(c.servers, s)
	}
}

// copyTo copies the connections, with what is kept beside the table about them.
func (c *concern) copyTo(t *twin) {
	refs := map[conntrack.Ref]conntrack.Ref{}
	for _, conn := range c.conns {
		c.fw.ftp.mu.Lock()
		n := t.reader.Copy(c.fw.conns, c.fw.locals, conn, refs[conn.Control])
		c.fw.ftp.mu.Unlock()
		if n == nil {
			continue
		}
		from, to := c.fw.conns.Ref(conn), t.conns.Ref(n)
		refs[from] = to
		if n.Has(conntrack.Template | conntrack.Helped) {
			t.sip.text[to] = c.fw.sip.of(from)
		}
		c.fw.openings.copyTo(&t.openings, from, to)
	}
	c.fw.openings.copyShares(&t.openings)
}

// copyTo copies an opening, if there is one, for a copy of its connection.
func (o *openings) copyTo(n *openings, from, to conntrack.Ref) {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.all[from]
	if p == nil {
		return
	}
	c := *p
	c.place, c.held, c.syn = nil, nil, frame.Frame{}
	for i := range p.held {
		held := p.held[i].Copy()
		held.Counts, held.Account = 0, 0
		c.held = append(c.held, held)
	}
	n.add(to, &c)
}

// copyShares copies how much the openings take, those that were copied and others.
func (o *openings) copyShares(n *openings) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n.elsewhere, n.bytes = len(o.all)-len(n.all), o.bytes
	if n.all == nil {
		n.all = map[conntrack.Ref]*opening{}
	}
	n.shares = maps.Clone(o.shares)
	if n.shares == nil {
		n.shares = map[config.Key]share{}
	}
}

// peeker asks a neighbour table and changes nothing there.
type peeker struct {
	Neighbours
	waiting *[]frame.Frame // gets the frames that would wait for a MAC address; nil: nobody does
}

// peeking is a Neighbours that can be asked without a trace.
type peeking interface {
	Peek(dst netip.Addr) (*neigh.Hop, frame.Verdict)
	PeekQueue(h *neigh.Hop, bytes int) frame.Verdict
}

func (p peeker) Lookup(dst netip.Addr) (*neigh.Hop, frame.Verdict) {
	if n, ok := p.Neighbours.(peeking); ok {
		return n.Peek(dst)
	}
	return p.Neighbours.Lookup(dst)
}

func (p peeker) Queue(h *neigh.Hop, f *frame.Frame) frame.Verdict {
	v := frame.DropNeighbourQueue
	if n, ok := p.Neighbours.(peeking); ok {
		v = n.PeekQueue(h, f.Len())
	}
	if v == frame.Queued && p.waiting != nil {
		kept := f.Copy()
		kept.Egress = h.Link
		*p.waiting = append(*p.waiting, kept)
	}
	return v
}

func (p peeker) Origin(h *neigh.Hop) neigh.Origin {
	if n, ok := p.Neighbours.(interface{ Origin(*neigh.Hop) neigh.Origin }); ok {
		return n.Origin(h)
	}
	return ""
}

func (peeker) Probe(netip.Addr)                  {}
func (peeker) Answer(*frame.Frame) frame.Verdict { return frame.Pass }
func (peeker) SetOwned([]netip.Addr)             {}
func (peeker) ChangeOwned(_, _ []netip.Addr)     {}

// sink is a Driver and a port that keeps what is sent, and nothing leaves.
type sink struct{ frames []frame.Frame }

func (*sink) OwnPorts(neigh.Link) bool { return true }
func (s *sink) Open(neigh.Link, int, []bpf.RawInstruction) ([]port.Port, error) {
	return []port.Port{s}, nil
}
func (s *sink) Sender(neigh.Link) (port.Port, error) { return s, nil }
func (*sink) Recv([]frame.Frame) (int, error)        { return 0, nil }
func (*sink) Close() error                           { return nil }
func (s *sink) Send(fs []frame.Frame) (int, error) {
	for i := range fs {
		kept := fs[i].Copy()
		kept.Egress = fs[i].Egress
		s.frames = append(s.frames, kept)
	}
	return len(fs), nil
}

// asGuard returns a guard that does nothing and can as much as g.
func asGuard(g Guard) Guard {
	_, conns := g.(connGuard)
	_, host := g.(hostGuard)
	switch {
	case conns && host:
		return dryGuard{}
	case conns:
		return struct {
			Guard
			connGuard
		}{dryGuard{}, dryGuard{}}
	}
	return struct{ Guard }{dryGuard{}}
}

type dryGuard struct{}

func (dryGuard) Set(guard.Rules) error         { return nil }
func (dryGuard) Change(guard.Change) error     { return nil }
func (dryGuard) RedirectsHost() bool           { return true }
func (dryGuard) AddTuple(guard.Tuple) error    { return nil }
func (dryGuard) RemoveTuple(guard.Tuple) error { return nil }
func (dryGuard) AddReply(guard.Reply) error    { return nil }
func (dryGuard) RemoveReply(guard.Reply) error { return nil }

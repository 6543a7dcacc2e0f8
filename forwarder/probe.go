package forwarder

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/service"
	"uvs/modes"
	"uvs/sched"
)

// Probes of package check are connections of the host itself to a virtual address that
// each go to one given server. They are opened like any client's on the host: an ordinary
// socket sends, the guard redirects that to the loopback interface, and the worker there
// forwards it by the server's method. Their entries in the connection table belong to the
// server's probe server (service.Table.ProbeServer), so nothing of them is counted,
// listed or scheduled.
//
// What the server answers by its method finds its way back like replies to other clients
// on the host. An answer from the virtual address itself is the host's, which takes it
// unless it holds the address too: then the worker delivers it (answersProbe).

// probes are the flows that go to given servers.
type probes struct {
	open  atomic.Int32 // how many there are
	mu    sync.RWMutex
	flows map[frame.Flow]*service.Server
	ended []endedProbe // the oldest first
}

// any reports whether there are flows.
func (p *probes) any() bool { return p.open.Load() > 0 }

// of returns the server to which a flow goes, nil for any.
func (p *probes) of(f *frame.Flow) *service.Server {
	if !p.any() {
		return nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.flows[*f]
}

// OpenProbe sends the flow from a local address and port to a virtual one of service k
// to the real server at addr, whatever its weight, until the function that it returns is
// called. The connection is forgotten soon after that. The flow must not have begun. It
// may fail with ErrNoSuchService or ErrNoSuchServer.
func (fw *Forwarder) OpenProbe(k config.Key, addr netip.AddrPort, proto config.Proto, from, to netip.AddrPort) (end func(), err error) {
	s, err := fw.ProbeServer(k, addr)
	if err != nil {
		return nil, err
	}
	src, dst := from.Addr().As16(), to.Addr().As16()
	flow := frame.MakeFlow(uint8(proto), &src, &dst, from.Port(), to.Port())
	if err := fw.guardProbe(&flow, s); err != nil {
		return nil, err
	}
	fw.probes.add(&flow, s)
	return func() { fw.probes.remove(&flow, fw.now()) }, nil
}

// guardProbe keeps the replies to a probe from the host's stack where they come to its own
// address, before the first can.
func (fw *Forwarder) guardProbe(flow *frame.Flow, s *service.Server) error {
	g, ok := fw.conf.Guard.(hostGuard)
	if !ok || !s.Method().Masquerades() {
		return nil
	}
	return g.AddReply(replyTo(flow, s))
}

func (fw *Forwarder) unguardProbe(flow *frame.Flow, s *service.Server) {
	if g, ok := fw.conf.Guard.(hostGuard); ok && s.Method().Masquerades() {
		r := replyTo(flow, s)
		fw.guardQueue.put(guardStep{change: func() error { return g.RemoveReply(r) }})
	}
}

// replyTo returns what all replies of a server to a probe have in common.
func replyTo(flow *frame.Flow, s *service.Server) guard.Reply {
	return guard.Reply{
		Proto: flow.Proto(), From: netip.AddrPortFrom(s.Addr.Addr(), serverPort(flow, s)),
		To: netip.AddrPortFrom(flow.Src(), flow.SrcPort()),
	}
}

// serverPort returns the port of a server to which a flow goes.
func serverPort(flow *frame.Flow, s *service.Server) uint16 {
	if port := s.Addr.Port(); port != 0 {
		return port
	}
	return flow.DstPort()
}

func (p *probes) add(flow *frame.Flow, s *service.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flows == nil {
		p.flows = map[frame.Flow]*service.Server{}
	}
	p.flows[*flow] = s
	p.open.Store(int32(len(p.flows)))
}

func (p *probes) remove(flow *frame.Flow, now conntrack.Tick) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.flows[*flow]
	if s == nil {
		return
	}
	delete(p.flows, *flow)
	p.open.Store(int32(len(p.flows)))
	p.ended = append(p.ended, endedProbe{*flow, s, now})
}

// probeLinger is how long the connection of a probe that has ended stays: its last packets
// are still under way.
const probeLinger = 2 * conntrack.TicksPerSecond

// endedProbe is a flow that has ended, and when.
type endedProbe struct {
	flow   frame.Flow
	server *service.Server
	at     conntrack.Tick
}

// due returns the probes whose connections are to go, unless they have begun anew.
func (p *probes) due(now conntrack.Tick) (over []endedProbe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.ended) && now-p.ended[n].at >= probeLinger {
		if p.flows[p.ended[n].flow] == nil {
			over = append(over, p.ended[n])
		}
		n++
	}
	p.ended = p.ended[n:]
	return over
}

// endProbes removes the connections of probes that have ended.
func (fw *Forwarder) endProbes(r *conntrack.Reader) {
	now := fw.now()
	over := fw.probes.due(now)
	if len(over) == 0 {
		return
	}
	r.Enter()
	defer r.Exit()
	for i := range over {
		p := &over[i]
		if c, reply := r.Lookup(&p.flow); c != nil && !reply && fw.isProbe(c) {
			r.Remove(c, now)
		}
		fw.unguardProbe(&p.flow, p.server)
	}
}

// isProbe reports whether a connection is a probe.
func (fw *Forwarder) isProbe(c *conntrack.Conn) bool { return fw.probesOnly(c.Server) }

// probesOnly reports whether all connections of a server are probes.
func (fw *Forwarder) probesOnly(id sched.ID) bool {
	s := fw.Server(id)
	return s != nil && s.Probes()
}

// probed returns the server that a new connection of the host is to go to as a probe, nil
// if it is none.
func (w *worker) probed(f *frame.Frame) *service.Server {
	if !w.link.Loopback && w.link.Name != w.fw.conf.HostLink {
		return nil
	}
	return w.fw.probes.of(&f.Flow)
}

// openProbe opens the connection of a probe.
func (w *worker) openProbe(f *frame.Frame, svc *service.Service, s *service.Server) frame.Verdict {
	to := destination{Server: s, port: serverPort(&f.Flow, s)}
	c, v := w.insert(f, &f.Flow, svc, to)
	if v == frame.DropNoLocalPort {
		w.noLocalPort(f)
	}
	if v != frame.Continue {
		return v
	}
	if w.rec != nil {
		w.rec.opened(c)
		w.rec.note("check", "check-probe", "a probe of the director itself: it goes to this server")
	}
	return w.forwardFirst(f, c)
}

// notAdmitted handles a packet that the host does not accept, for the reason v.
func (w *worker) notAdmitted(f *frame.Frame, v frame.Verdict) frame.Verdict {
	if answered, ok := w.answersProbe(f); ok {
		return answered
	}
	if w.rec != nil {
		w.rec.refused(v)
	}
	return v
}

// answersProbe handles a packet that the host does not accept because of its source: it
// may come from a virtual address, as the answer of a server by direct routing or a tunnel
// to a probe. The host takes such a packet itself if the address is not its own and the
// packet comes from where it would send; otherwise it is delivered here.
func (w *worker) answersProbe(f *frame.Frame) (frame.Verdict, bool) {
	if w.services.Len() == 0 || !w.fw.probes.any() {
		return 0, false
	}
	flow := f.Flow.Reverse()
	if f.Info.Proto == frame.ProtoICMP {
		var ok bool
		if flow, ok = modes.Embedded(f); !ok {
			return 0, false
		}
	}
	w.quoted = flow
	c, reply := w.reader.Lookup(&w.quoted)
	if c == nil || reply || !c.Method().Direct() || !w.fw.isProbe(c) {
		return 0, false
	}
	hop, v := w.hops.lookup(w.fw.neigh, &c.Virtual)
	if v == frame.Continue && !hop.Local && hop.Link == w.link.Index {
		return frame.Pass, true
	}
	return w.deliverLocal(f), true
}

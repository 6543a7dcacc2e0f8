package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/service"
	"uvs/modes"
	"uvs/sched"
	"uvs/sched/sim"
)

// openConn opens a connection if the packet asks for a service and may open one;
// otherwise its verdict says who handles the packet. IPVS schedules TCP, UDP and SCTP.
func (w *worker) openConn(f *frame.Frame) frame.Verdict {
	if !f.Info.HasPorts {
		return w.noService(f)
	}
	mark := w.conf.Mark(&f.Flow)
	svc := w.services.Match(&f.Flow, mark)
	if w.rec != nil {
		w.rec.matched(w, svc, mark)
	}
	switch {
	case svc == nil:
		return w.noService(f)
	case w.conf.Leaves(&svc.Key, &f.Flow):
		return frame.Pass
	}
	if s := w.probed(f); s != nil {
		return w.openProbe(f, svc, s)
	}
	if w.proxies(f, svc) {
		return w.proxy(f, svc)
	}
	if f.Info.Proto == frame.ProtoSCTP && len(f.L4()) < frame.SCTPHeaderLen+frame.SCTPChunkLen {
		return frame.DropTruncated // as one that ends within its header (ip_vs_proto_sctp.c, sctp_conn_schedule)
	}
	if !w.mayOpen(f) || f.Flow.SrcPort() == service.FTPDataPort {
		return w.notSchedulable(f, svc) // a server's active FTP data is not scheduled (ip_vs_core.c, ip_vs_schedule)
	}
	if w.fw.overload.drops() {
		return frame.DropOverload
	}
	c, v := w.schedule(f, &f.Flow, svc)
	if v == frame.DropNoLocalPort {
		w.noLocalPort(f)
	}
	if v != frame.Continue {
		return v
	}
	if w.rec != nil {
		w.rec.opened(c)
	}
	return w.forwardFirst(f, c)
}

// schedule inserts a new connection to a real server into the table: that of flow, to
// which f belongs or, if f is an ICMP message, which it quotes. A connection to a
// one-packet service is not inserted.
func (w *worker) schedule(f *frame.Frame, flow *frame.Flow, svc *service.Service) (*conntrack.Conn, frame.Verdict) {
	if svc.OnePacket && flow.Proto() == frame.ProtoUDP {
		return w.oneDatagram(f, flow, svc)
	}
	to, v := w.destination(f, flow, svc)
	if v != frame.Continue {
		return nil, v
	}
	return w.insert(f, flow, svc, to)
}

// destination is where a new connection is to go.
type destination struct {
	*service.Server
	port     uint16        // of the real server, for this connection
	template conntrack.Ref // 0: none
}

// destination finds the real server for a new connection: the template's if the
// service is persistent, else the scheduler's.
func (w *worker) destination(f *frame.Frame, flow *frame.Flow, svc *service.Service) (destination, frame.Verdict) {
	if svc.Persistent != 0 {
		return w.persist(f, flow, svc)
	}
	s, v := w.pick(f, flow, svc)
	if v != frame.Continue {
		return destination{}, v
	}
	port := s.Addr.Port()
	if port == 0 {
		port = flow.DstPort()
	}
	return destination{Server: s, port: port}, frame.Continue
}

// pick lets the scheduler choose a real server. A service that is not persistent takes
// no other port than its own, which Match may find by the FTP rule.
func (w *worker) pick(f *frame.Frame, flow *frame.Flow, svc *service.Service) (*service.Server, frame.Verdict) {
	if !ownPort(flow, svc) {
		return nil, w.noDestination(f, flow, svc)
	}
	rs := svc.Sched.Pick(flow, w.schedRecord())
	if rs == nil {
		w.fw.notTaken(flow, svc)
		return nil, w.noDestination(f, flow, svc)
	}
	if s := w.fw.Server(rs.ID); s != nil {
		return s, frame.Continue
	}
	return nil, w.noDestination(f, flow, svc)
}

// ownPort reports whether a service takes connections to the port of a flow that matches
// it.
func ownPort(flow *frame.Flow, svc *service.Service) bool {
	return svc.Persistent != 0 || svc.Mark != 0 || flow.DstPort() == svc.Port
}

// schedRecord returns where the scheduler explains itself, nil if nobody asked.
func (w *worker) schedRecord() *sched.Record {
	if w.rec == nil {
		return nil
	}
	return w.rec.pick()
}

// noDestination handles a packet for which a service has no server. It may go to its
// own destination; packets to other ports of the address than the FTP service's are
// left to the host (ip_vs_core.c, ip_vs_leave).
func (w *worker) noDestination(f *frame.Frame, flow *frame.Flow, svc *service.Service) frame.Verdict {
	if w.shake.Made {
		return frame.DropNoServer // the client is reset
	}
	if svc.Mark == 0 && svc.Port == service.FTPPort && flow.DstPort() != service.FTPPort {
		return w.noService(f)
	}
	if w.bypasses(f, flow, svc) {
		return w.bypass(f, flow, svc)
	}
	return w.icmpNoServer(f)
}

// insert inserts a connection into the table and counts it. If another worker was first
// with this flow, its connection is used.
func (w *worker) insert(f *frame.Frame, flow *frame.Flow, svc *service.Service, s destination) (*conntrack.Conn, frame.Verdict) {
	m := s.RefMethod()
	if w.shake.Made && !m.Translates() {
		return nil, frame.DropNoServer // its method has just been changed
	}
	c := conntrack.Make(flow, m, 0)
	if needsHelper(flow, m) {
		c.SetFlags(conntrack.Helped)
	}
	c.Server = s.ID
	c.Real = s.Addr.Addr().As16()
	c.RealPort = s.port
	c.Control = s.template
	if svc.Port == service.FTPPort && flow.DstPort() != service.FTPPort {
		s.FTPData.Store(true)
	}
	var by conntrack.Renumber
	if m.NeedsLocal() {
		past, ok := w.bindLocal(&c, svc, s.Server)
		if !ok {
			s.UnrefMethod(m)
			return nil, frame.DropNoLocalPort
		}
		by = renumber(f, past)
	}
	by.Handshake = w.shake
	if m.Masquerades() && w.fromHost(&c) {
		c.SetFlags(conntrack.FromHost)
	}
	s.Count(0, 1, 0)
	kept, inserted := w.reader.InsertRenumbered(&c, by, w.now)
	if inserted {
		if c.Has(conntrack.FromHost) {
			f.Held = w.fw.guardReply(&c)
		}
		w.counters.server(s.ID).Conns++
		w.fw.arrived(sim.New, flow, w.fw.conns.Ref(kept), s.template, s.ID)
		return kept, frame.Continue
	}
	s.Count(0, -1, 0)
	s.UnrefMethod(m)
	if m.NeedsLocal() {
		w.fw.locals.Release(&c)
	}
	if kept == nil {
		return nil, frame.DropConnTableFull
	}
	return kept, frame.Continue
}

// oneDatagram makes the connection of a packet to a one-packet service, which ends
// with the packet and is never in the table (ip_vs_core.c, ip_vs_schedule).
func (w *worker) oneDatagram(f *frame.Frame, flow *frame.Flow, svc *service.Service) (*conntrack.Conn, frame.Verdict) {
	s, v := w.destination(f, flow, svc)
	if v != frame.Continue {
		return nil, v
	}
	if s.Method().NeedsLocal() {
		return nil, frame.DropUnsupported // its reply could not be translated back
	}
	return w.oneDatagramConn(flow, s), frame.Continue
}

// oneDatagramConn makes the connection of a single datagram, which is valid for the packet
// at hand.
func (w *worker) oneDatagramConn(flow *frame.Flow, s destination) *conntrack.Conn {
	c := &w.single
	*c = conntrack.Make(flow, s.Method(), conntrack.OnePacket)
	c.Server = s.ID
	c.Real = s.Addr.Addr().As16()
	c.RealPort = s.port
	c.Control = s.template
	w.counters.server(s.ID).Conns++
	w.fw.arrived(sim.New, flow, 0, s.template, s.ID)
	return c
}

// mayOpen reports whether a packet that belongs to no connection may open one.
func (w *worker) mayOpen(f *frame.Frame) bool {
	switch f.Info.Proto {
	case frame.ProtoTCP:
		return w.rules.OpensTCP(f.Info.TCPFlags)
	case frame.ProtoSCTP:
		return w.rules.OpensSCTP(f.L4())
	}
	return true
}

// notSchedulable handles a packet to a service that IPVS leaves to the host. The guard
// keeps it from the host, so the director answers in its place. A packet with a mark
// may have any destination: then it is routed, unless the host has the address.
func (w *worker) notSchedulable(f *frame.Frame, svc *service.Service) frame.Verdict {
	if svc.Mark != 0 && !w.conf.Virtual(f.Flow.Dst16()) && !w.fw.neigh.LocalAddr(f.Flow.Dst()) {
		return w.forwardTransit(f)
	}
	return w.reject(f)
}

// noService handles a packet that is neither of a connection nor to a service. Most are
// the host's. What the guard keeps from the host is the director's to answer: packets
// to addresses only it owns, and packets of real servers that have no connection, which
// a router would forward.
func (w *worker) noService(f *frame.Frame) frame.Verdict {
	if w.conf.Owns(f.Flow.Dst16()) || isIPsec(f.Info.Proto) && w.conf.TakesIPsec(f.Flow.Dst16()) {
		return w.reject(f)
	}
	if w.conf.Guarded(&f.Flow) {
		return w.unmatchedReply(f)
	}
	if w.conf.OnlyForOrphans(&f.Flow) {
		return w.deliverLocal(f)
	}
	return frame.Pass
}

// unmatchedReply handles a packet of a real server that has no connection: it may start
// one; otherwise the server gets an ICMP error with nat_icmp_send, once the packet has
// passed the routing (ip_vs_core.c, ip_vs_out).
func (w *worker) unmatchedReply(f *frame.Frame) frame.Verdict {
	if v, ok := w.serverInitiated(f); ok {
		return v
	}
	if w.conf.Shares(f.Flow.Dst16()) {
		return w.deliverLocal(f)
	}
	configured, _ := w.conf.Replier(&f.Flow)
	if w.sysctl.NATICMPSend == 0 || !configured || w.services.Len() == 0 || !f.Info.HasPorts || w.resets(f) {
		return w.forwardTransit(f)
	}
	if !w.link.Loopback && !f.DecrementTTL() {
		return w.icmpForVerdict(f, frame.DropTTL)
	}
	return w.icmpUnreachable(f, modes.PortUnreachable, frame.DropState)
}

// resets reports whether a packet ends a connection at once.
func (w *worker) resets(f *frame.Frame) bool {
	switch f.Info.Proto {
	case frame.ProtoTCP:
		return f.Info.TCPFlags&frame.FlagRST != 0
	case frame.ProtoSCTP:
		kind, ok := frame.SCTPChunk(f.L4())
		return ok && kind == frame.SCTPAbort
	}
	return false
}

// forwardTransit forwards a packet as a router does, if the host is one: replies of a
// real server to clients that reached it directly through this host.
func (w *worker) forwardTransit(f *frame.Frame) frame.Verdict {
	hop, v := w.routerHop(f)
	if v != frame.Continue {
		return v
	}
	f.MTU, f.Host = hop.MTU, w.link.Loopback
	if v := transit.Request(f, nil); v != frame.Forward {
		return w.icmpForVerdict(f, v)
	}
	return w.emit(f, hop)
}

// routerHop returns the next hop to which a router forwards a packet. The verdict is
// Pass if the host is no router, or is the destination.
func (w *worker) routerHop(f *frame.Frame) (*neigh.Hop, frame.Verdict) {
	if !w.fw.neigh.Forwarding(f.Is6()) || f.Ethernet()[0]&1 != 0 {
		return nil, frame.Pass
	}
	dst := f.Flow.Dst16()
	hop, v := w.hops.lookup(w.fw.neigh, &dst)
	if v == frame.Continue && hop.Local {
		return nil, frame.Pass
	}
	return hop, v
}

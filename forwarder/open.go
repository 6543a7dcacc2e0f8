package forwarder

import (
	"net/netip"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/sched"
)

// open begins a connection if the packet asks for a service and may open one;
// otherwise it says who deals with it.
func (w *worker) open(f *frame.Frame) frame.Verdict {
	mark := w.conf.mark(&f.Flow)
	svc := w.services.Match(&f.Flow, mark)
	if svc == nil {
		return w.unserved(f)
	}
	if !w.opens(f) {
		return w.stray(f)
	}
	if svc.Mark == 0 && f.Info.Proto == frame.ProtoTCP && f.Flow.SrcPort() == ftpDataPort {
		return w.unserved(f) // a server's active FTP data is not scheduled (ip_vs_core.c, ip_vs_schedule)
	}
	if svc.OnePacket && f.Info.Proto == frame.ProtoUDP {
		return w.once(f, svc)
	}
	c, v := w.schedule(f, svc)
	if v != frame.Continue {
		return v
	}
	return w.request(f, c)
}

// schedule enters a new connection to a real server into the table.
func (w *worker) schedule(f *frame.Frame, svc *Service) (*conntrack.Conn, frame.Verdict) {
	if svc.Persistent != 0 {
		return w.persist(f, svc)
	}
	s, v := w.pick(f, svc)
	if v != frame.Continue {
		return nil, v
	}
	return w.connect(f, svc, s, serverPort(f, svc, s), 0)
}

// pick has the scheduler choose a real server. A service that is not persistent
// takes no other port than its own; the FTP rule of Match may find one by
// another, which is the host's business (ip_vs_core.c, ip_vs_leave).
func (w *worker) pick(f *frame.Frame, svc *Service) (*Server, frame.Verdict) {
	if svc.Persistent == 0 && svc.Mark == 0 && f.Flow.DstPort() != svc.Port {
		if svc.Port == ftpPort {
			return nil, w.unserved(f)
		}
		return nil, w.noServer(f)
	}
	rs := svc.Sched.Pick(&f.Flow, nil)
	if rs == nil {
		return nil, w.noServer(f)
	}
	if s := w.fw.Server(rs.ID); s != nil {
		return s, frame.Continue
	}
	return nil, w.noServer(f)
}

// serverPort returns the port of the real server for a packet: the server's
// own, but that of the packet if it is not the service's or the server has none.
func serverPort(f *frame.Frame, svc *Service, s *Server) uint16 {
	port := f.Flow.DstPort()
	if s.Addr.Port() != 0 && (port == svc.Port || svc.Mark != 0) {
		return s.Addr.Port()
	}
	return port
}

// connect enters a connection into the table and counts it. If another worker
// was first with this flow, its connection is the one.
func (w *worker) connect(f *frame.Frame, svc *Service, s *Server, port uint16, template conntrack.Ref) (*conntrack.Conn, frame.Verdict) {
	c := conntrack.Make(&f.Flow, s.Method(), 0)
	c.Server = s.ID
	c.Real = s.Addr.Addr().As16()
	c.RealPort = port
	c.Control = template
	if c.Method() == sched.FullNAT && !w.bindLocal(&c, svc, s) {
		return nil, frame.DropNoLocalPort
	}
	s.Count(0, 1, 0)
	kept, inserted := w.reader.Insert(&c, w.now)
	if inserted {
		w.tally.server(s.ID).Conns++
		return kept, frame.Continue
	}
	s.Count(0, -1, 0)
	if c.Method() == sched.FullNAT {
		w.fw.locals.Release(conntrack.PortKeyOf(&c), c.LocalPort)
	}
	if kept == nil {
		return nil, frame.DropConnTableFull
	}
	return kept, frame.Continue
}

// once forwards a datagram of a one-packet service, whose connection ends with
// it and is never in the table (ip_vs_core.c, ip_vs_schedule).
func (w *worker) once(f *frame.Frame, svc *Service) frame.Verdict {
	s, v := w.pick(f, svc)
	if v != frame.Continue {
		return v
	}
	c := &w.single
	*c = conntrack.Make(&f.Flow, s.Method(), conntrack.OnePacket)
	c.Server = s.ID
	c.Real = s.Addr.Addr().As16()
	c.RealPort = serverPort(f, svc, s)
	if c.Method() == sched.FullNAT {
		return frame.DropUnsupported // its reply could not find the way back
	}
	w.tally.server(s.ID).Conns++
	return w.request(f, c)
}

// bindLocal gives a FULLNAT connection a local address of the service and a
// port on it, beginning with the address after the one used last. A service
// without local addresses uses the host's own on the way to the server.
func (w *worker) bindLocal(c *conntrack.Conn, svc *Service, s *Server) bool {
	for range svc.Local {
		w.turn++
		if w.bindPort(c, svc.Local[w.turn%len(svc.Local)]) {
			return true
		}
	}
	if len(svc.Local) > 0 {
		return false
	}
	way, v := w.ways.to(w, s)
	return v == frame.Continue && way.hop.Source.IsValid() && w.bindPort(c, way.hop.Source)
}

func (w *worker) bindPort(c *conntrack.Conn, local netip.Addr) bool {
	c.Local = local.As16()
	port, ok := w.fw.locals.Take(conntrack.PortKeyOf(c))
	c.LocalPort = port
	return ok
}

// opens reports whether a packet that belongs to no connection may open one.
func (w *worker) opens(f *frame.Frame) bool {
	switch f.Info.Proto {
	case frame.ProtoTCP:
		return w.rules.OpensTCP(f.Info.TCPFlags)
	case frame.ProtoSCTP:
		return w.rules.OpensSCTP(f.L4())
	}
	return true
}

// unserved deals with a packet that is neither of a connection nor to a
// service. Most are the host's. What the guard keeps from the host is the
// director's to answer: packets to addresses only it owns, and packets of real
// servers that have no connection, which a router would forward.
func (w *worker) unserved(f *frame.Frame) frame.Verdict {
	if w.conf.owns(f.Flow.Dst16()) {
		return w.refuse(f)
	}
	if w.conf.guarded(&f.Flow) {
		return w.route(f)
	}
	return frame.Pass
}

// route forwards a packet as a router does, if the host is one: replies of a
// real server to clients that reached it directly through this host.
func (w *worker) route(f *frame.Frame) frame.Verdict {
	dst := f.Flow.Dst16()
	if !w.fw.neigh.Forwarding(f.Is6()) || f.Ethernet()[0]&1 != 0 {
		return frame.Pass
	}
	hop, v := w.hops.lookup(w.fw.neigh, w.links, &dst)
	if v != frame.Continue {
		return v
	}
	if hop.Local {
		return frame.Pass
	}
	f.MTU = hop.MTU
	if v := drMode.Request(f, nil); v != frame.Forward {
		return w.refused(f, v)
	}
	return w.emit(f, hop)
}

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
	svc := w.services.Match(&f.Flow, w.conf.mark(&f.Flow))
	if svc == nil {
		return w.unserved(f)
	}
	if !w.opens(f) {
		return w.stray(f)
	}
	c, v := w.schedule(f, svc)
	if v != frame.Continue {
		return v
	}
	return w.request(f, c)
}

// schedule picks a real server for a new connection and enters it into the
// table. If another worker was first its connection counts.
func (w *worker) schedule(f *frame.Frame, svc *Service) (*conntrack.Conn, frame.Verdict) {
	rs := svc.Sched.Pick(&f.Flow, nil)
	if rs == nil {
		return nil, w.noServer(f)
	}
	s := w.fw.Server(rs.ID)
	if s == nil {
		return nil, w.noServer(f)
	}
	o := s.Options()
	c := conntrack.Make(&f.Flow, o.Method, 0)
	c.Server = s.ID
	c.Real = o.Addr.As16()
	c.RealPort = s.Addr.Port()
	if c.RealPort == 0 {
		c.RealPort = f.Flow.DstPort()
	}
	if o.Method == sched.FullNAT && !w.bindLocal(&c, svc, s) {
		return nil, frame.DropNoLocalPort
	}
	kept, inserted := w.reader.Insert(&c, w.now)
	switch {
	case inserted:
		s.Count(0, 1, 0)
		w.tally.server(s.ID).Conns++
	case o.Method == sched.FullNAT:
		w.fw.locals.Release(conntrack.PortKeyOf(&c), c.LocalPort)
	}
	if kept == nil {
		return nil, frame.DropConnTableFull
	}
	return kept, frame.Continue
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
	hop, v := w.hops.lookup(w.fw.neigh, &dst)
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

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
	if !conntrack.MayOpen(f.Info.Proto, f.Info.TCPFlags) {
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
	if o.Method == sched.FullNAT && !w.bindLocal(&c, svc) {
		return nil, frame.DropNoLocalPort
	}
	kept, inserted := w.reader.Insert(&c, w.now)
	switch {
	case inserted:
		s.Count(0, 1, 0)
		w.tally.server(s.ID).Conns++
	case o.Method == sched.FullNAT:
		w.fw.ports.Release(&c)
	}
	if kept == nil {
		return nil, frame.DropConnTableFull
	}
	return kept, frame.Continue
}

// bindLocal gives a FULLNAT connection a local address of the service and a
// port on it, beginning with the address after the one used last.
func (w *worker) bindLocal(c *conntrack.Conn, svc *Service) bool {
	n := len(svc.Local)
	for i := range n {
		local := svc.Local[(w.turn+i)%n]
		if w.fw.ports.Bind(c, local) {
			w.turn = (w.turn + i + 1) % n
			return true
		}
	}
	return false
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
	if v := w.fits(f, hop.MTU); v != frame.Continue {
		return v
	}
	f.DecrementTTL()
	return w.emit(f, hop)
}

// settings is the configuration as workers need it beside the services: which
// addresses and which replies the guard keeps from the host.
type settings struct {
	services *Snapshot
	owned    map[[16]byte]bool // addresses of services and FULLNAT that the host has not itself
	replies  map[endpoint]bool // sources of real servers' replies
	marks    []markRule
}

// endpoint is the source of a real server's replies.
type endpoint struct {
	addr  [16]byte
	port  uint16
	proto uint8
}

// markRule gives a firewall mark to packets, as `uvs mark` says.
type markRule struct {
	dst      netip.Prefix
	src      netip.Prefix
	proto    uint8
	min, max uint16 // destination ports
	mark     uint32
}

func (s *settings) owns(a [16]byte) bool { return s.owned[a] }

func (s *settings) guarded(f *frame.Flow) bool {
	return s.replies[endpoint{f.Src16(), f.SrcPort(), f.Proto()}]
}

// mark returns the firewall mark of a packet, 0 for none.
func (s *settings) mark(f *frame.Flow) uint32 {
	for i := range s.marks {
		if r := &s.marks[i]; r.matches(f) {
			return r.mark
		}
	}
	return 0
}

func (r *markRule) matches(f *frame.Flow) bool {
	return (r.proto == 0 || r.proto == f.Proto()) &&
		(r.max == 0 || f.DstPort() >= r.min && f.DstPort() <= r.max) &&
		(!r.dst.IsValid() || r.dst.Contains(f.Dst())) &&
		(!r.src.IsValid() || r.src.Contains(f.Src()))
}

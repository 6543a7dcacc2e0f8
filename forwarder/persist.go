package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/forwarder/sip"
	"uvs/sched"
	"uvs/sched/sim"
)

// persist finds the server for a connection of a persistent service: the one
// that the client's template names, or one picked now, which a new template
// then keeps (ip_vs_core.c, ip_vs_sched_persist).
func (w *worker) persist(f *frame.Frame, flow *frame.Flow, svc *service.Service) (destination, frame.Verdict) {
	key, ok := w.templateKey(f, flow, svc)
	if !ok {
		return destination{}, frame.DropNoCallID
	}
	ct := w.template(&key, flow.Proto(), nil)
	if w.rec != nil {
		w.rec.template(ct, w.now)
	}
	if ct == nil {
		s, v := w.pick(f, flow, svc)
		if v != frame.Continue {
			return destination{}, v
		}
		if ct, v = w.newTemplate(&key, flow, svc, s); v != frame.Continue {
			return destination{}, v
		}
	}
	s := w.fw.Server(ct.Server)
	if s == nil {
		return destination{}, frame.DropServerGone
	}
	port := flow.DstPort()
	if port == svc.Port && s.Addr.Port() != 0 {
		port = s.Addr.Port()
	}
	w.reader.Renew(ct, w.now)
	return destination{s, port, w.fw.conns.Ref(ct)}, frame.Continue
}

// templateKey is what a template is found by. The Call-ID is borrowed from the
// packet, nil where the service does not look at it.
type templateKey struct {
	flow frame.Flow
	tag  conntrack.Tag
	call []byte
}

// templateKey returns the key for a connection with the given flow. It reports false if
// the service wants a Call-ID and the packet has none: IPVS drops such packets, and
// whatever is not UDP (ip_vs_pe_sip.c, ip_vs_sip_fill_param).
func (w *worker) templateKey(f *frame.Frame, flow *frame.Flow, svc *service.Service) (k templateKey, ok bool) {
	k.flow = templateFlow(flow, svc)
	if svc.PE == "" {
		return k, true
	}
	if f.Info.Proto != frame.ProtoUDP {
		return k, false
	}
	if k.call = sip.CallID(f.L4()[8:]); k.call == nil {
		return k, false
	}
	k.tag = w.fw.sip.tag(k.call)
	return k, true
}

// templateFlow returns the flow a template is found by: with the service's port
// if the packet asks for that, without a port for FTP, for services on all
// ports and for those by mark, which have the mark in place of the address.
func templateFlow(flow *frame.Flow, svc *service.Service) frame.Flow {
	if svc.Mark != 0 {
		return conntrack.MarkTemplateFlow(flow, &svc.Mask, svc.Mark)
	}
	port := uint16(0)
	if flow.DstPort() == svc.Port && svc.Port != service.FTPPort {
		port = svc.Port
	}
	return conntrack.TemplateFlow(flow, &svc.Mask, port)
}

// template returns the client's template if its server can still be used and, unless
// the given server is nil, is that one. A template is invalidated if its server was
// removed, is another one, or takes no new clients while expire_quiescent_template is
// set (ip_vs_conn.c, ip_vs_check_template), and also if its server refuses new
// connections of the protocol.
func (w *worker) template(k *templateKey, proto uint8, of *service.Server) *conntrack.Conn {
	ct := w.reader.LookupTagged(&k.flow, &k.tag)
	if ct == nil {
		return nil
	}
	s := w.fw.Server(ct.Server)
	if s != nil && s.Available() && (of == nil || of == s) && !s.RefusesNew(proto, w.now) && !(w.sysctl.ExpireQuiescentTemplate != 0 && s.Weight() == 0) {
		if k.call != nil {
			w.fw.keepCall(ct, k.call)
		}
		return ct
	}
	if w.rec != nil {
		w.rec.invalidated(ct, s)
	}
	w.reader.Invalidate(ct)
	return nil
}

// newTemplate inserts a template with the key that ties the client of flow to server s.
// If another worker was first, its template is used.
func (w *worker) newTemplate(key *templateKey, flow *frame.Flow, svc *service.Service, s *service.Server) (*conntrack.Conn, frame.Verdict) {
	flags := conntrack.Template
	if svc.OnePacket && flow.Proto() == frame.ProtoUDP {
		flags |= conntrack.OnePacket
	}
	if key.call != nil {
		flags |= conntrack.Helped
	}
	if key.call != nil && w.fw.sip.full() {
		return nil, frame.DropConnTableFull
	}
	ct := conntrack.Make(&key.flow, s.Method(), flags)
	ct.Local = key.tag
	ct.Server = s.ID
	ct.Real = s.Addr.Addr().As16()
	if flow.DstPort() == svc.Port && svc.Port != service.FTPPort && svc.Mark == 0 {
		ct.RealPort = s.Addr.Port()
	}
	ct.SetTimeout(conntrack.Seconds(svc.Persistent))
	s.Count(0, 0, 1)
	kept, inserted := w.reader.Insert(&ct, w.now)
	switch {
	case !inserted:
		s.Count(0, 0, -1)
	case key.call != nil:
		w.fw.keepCall(kept, key.call)
	}
	if kept == nil {
		return nil, frame.DropConnTableFull
	}
	if inserted {
		w.fw.arrived(sim.Template, flow, w.fw.conns.Ref(kept), 0, s.ID)
	}
	return kept, frame.Continue
}

// keepCall records a template's Call-ID, unless it is known or has ended already.
func (fw *Forwarder) keepCall(ct *conntrack.Conn, id []byte) {
	ref := fw.conns.Ref(ct)
	fw.sip.keep(ref, id)
	if ct.Gone() {
		fw.sip.forget(ref)
	}
}

// restarted decides about a packet from the client that belongs to connection c:
// it reports true if c has been removed so that the packet opens a new one (ip_vs_core.c,
// ip_vs_in).
func (w *worker) restarted(f *frame.Frame, c *conntrack.Conn, s *service.Server) bool {
	gone := s == nil && c.Method() != sched.Bypass && !unbound(c) || s != nil && !s.Reachable(w.now)
	nodest := w.sysctl.ExpireNodestConn != 0
	if w.begins(f) {
		quiesced := nodest && s != nil && s.Weight() == 0
		if quiesced && c.Controls() == 0 || c.Reusable(w.reuseMode(c)) {
			return w.replaceConn(f, c)
		}
	}
	return gone && nodest && w.reader.Remove(c, w.now)
}

// begins reports whether a packet asks for a new connection: it carries SYN,
// whatever else, or INIT (ip_vs_core.c, is_new_conn).
func (w *worker) begins(f *frame.Frame) bool {
	switch f.Info.Proto {
	case frame.ProtoTCP:
		return f.Info.TCPFlags&frame.FlagSYN != 0
	case frame.ProtoSCTP:
		kind, ok := frame.SCTPChunk(f.L4())
		return ok && kind == frame.SCTPInit
	}
	return false
}

// reuseMode returns conn_reuse_mode for a connection. One that a SYN proxy began is
// always begun anew once it is over: its successor has other numbers.
func (w *worker) reuseMode(c *conntrack.Conn) int {
	mode := int(w.sysctl.ConnReuseMode)
	if w.fw.conns.Proxied(c) {
		mode |= 1
	}
	return mode
}

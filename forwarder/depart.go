package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/modes"
	"uvs/sched"
)

// unusual reports whether consider has anything to decide about a packet from
// the client: not so for nearly all.
func (w *worker) unusual(f *frame.Frame, s *Server) bool {
	return s == nil || s.leaves.Load() || f.Info.TCPFlags&frame.FlagSYN != 0 || f.Info.Proto == frame.ProtoSCTP
}

// consider decides about a packet from the client of connection c that may begin
// a new one, or whose server leaves. The verdict is Continue if it is to be
// forwarded like any other.
func (w *worker) consider(f *frame.Frame, c *conntrack.Conn, s *Server) frame.Verdict {
	if s != nil && !c.Has(conntrack.OnePacket) {
		if p := s.policy.Load(); p != nil && *p != (config.Policy{}) && s.leaves.Load() {
			if v := w.depart(f, c, s, p); v != frame.Continue {
				return v
			}
		}
	}
	if !c.Has(conntrack.OnePacket) && w.renewed(f, c, s) {
		return w.open(f)
	}
	if s != nil && repeatsSYN(f, c) {
		s.unheard.repeat()
	}
	return w.reaches(f, c, s)
}

// reaches deals with packets of connections that have no server, or whose server
// takes none now. The verdict is Continue if it does.
func (w *worker) reaches(f *frame.Frame, c *conntrack.Conn, s *Server) frame.Verdict {
	if c.Method() == sched.Bypass {
		return w.direct(f, c)
	}
	if s == nil || !s.serves(w.now) {
		return frame.DropServerGone
	}
	return frame.Continue
}

// depart decides by policy p about a packet for a server that was removed or has
// the weight 0. The verdict is Continue if IPVS's rules hold.
func (w *worker) depart(f *frame.Frame, c *conntrack.Conn, s *Server, p *config.Policy) frame.Verdict {
	over := s.over(w.now)
	switch {
	case c.Gone():
		return w.again(f) // with an earlier packet of this batch
	case p.Reschedule && f.Info.Proto == frame.ProtoUDP:
		return w.anew(f, c)
	case w.begins(f) && (over || s.ends.Load() != endsNever && !s.Available()):
		return w.anew(f, c)
	case !over:
		return frame.Continue
	}
	return w.finish(f, c, s, p)
}

// again looks up anew the connection of a packet whose connection has just gone.
func (w *worker) again(f *frame.Frame) frame.Verdict {
	if c, reply := w.find(f); c != nil && !reply {
		return w.request(f, c)
	}
	return w.open(f)
}

// anew ends a connection and begins another for the same flow.
func (w *worker) anew(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if w.rec != nil {
		w.rec.note("policy", "the server takes no more: scheduled anew")
	}
	if w.reader.Remove(c, w.now) {
		w.fw.departed.rescheduled.Add(1)
		return w.open(f)
	}
	if c.Gone() {
		return w.again(f)
	}
	return frame.Continue // others depend on it
}

// finish answers a packet of a connection whose server is gone.
func (w *worker) finish(f *frame.Frame, c *conntrack.Conn, s *Server, p *config.Policy) frame.Verdict {
	if w.rec != nil {
		w.rec.note("policy", "the server is gone: %s", p.Gone)
	}
	if w.resets(f) {
		v := w.toServer(f, c, s) // the client ends it itself
		w.ended(c)
		return v
	}
	v := w.farewell(f, c, s, p)
	if (p.Gone == config.GoneReset || p.Drain > 0) && v != frame.DropICMPRate {
		w.ended(c)
	}
	return v
}

// farewell gives the answer of the policy.
func (w *worker) farewell(f *frame.Frame, c *conntrack.Conn, s *Server, p *config.Policy) frame.Verdict {
	const v = frame.DropServerGone
	switch {
	case p.Gone == config.GoneDrop:
		return v
	case p.Gone == config.GoneICMP, !f.Info.HasPorts:
		return answered(frame.GoneICMP, w.tell(f, v, func(out *frame.Frame, buf []byte) bool {
			return modes.HostDown(out, buf, f, w.ownAddress(f), w.nextID16())
		}))
	case f.Info.Proto == frame.ProtoUDP:
		return answered(frame.GoneICMP, w.unreachable(f, modes.PortUnreachable, v))
	}
	w.sever(f, c, s)
	return answered(frame.GoneReset, w.answer(f, func(out *frame.Frame, buf []byte) bool {
		return modes.AbortSender(out, buf, f)
	}))
}

// answered gives an answer that was sent its own name.
func answered(name, v frame.Verdict) frame.Verdict {
	if v == frame.Answered {
		return name
	}
	return v
}

// ended takes out a connection that the policy has ended.
func (w *worker) ended(c *conntrack.Conn) {
	closing := c.Has(conntrack.Closing)
	if w.reader.Remove(c, w.now) && !closing {
		w.fw.departed.ended.Add(1)
	}
}

// sever tells the server of the end, too: it may be there, and only be removed
// from the configuration.
func (w *worker) sever(f *frame.Frame, c *conntrack.Conn, s *Server) {
	way, v := w.ways.to(w, s)
	m := way.mode(c.Method())
	if v != frame.Continue || m == nil {
		return
	}
	buf := w.arena.alloc(modes.AnswerLen)
	var out frame.Frame
	if buf == nil || !modes.AbortReceiver(&out, buf, f) || w.parser.Parse(&out) != frame.Continue {
		return
	}
	if out.Host = way.hop.Local; out.Host && !w.delivers(c, s) {
		return
	}
	out.MTU = w.mtu(s, way.hop)
	if c.Has(conntrack.Helped) {
		w.helpRequest(&out, c)
	}
	if v := m.Request(&out, c); v != frame.Forward {
		return
	}
	if c.Has(conntrack.Renumbered) {
		w.renumberRequest(&out, c)
	}
	if v := w.emit(&out, way.hop); v.IsDrop() {
		w.tally.count(v)
	}
}

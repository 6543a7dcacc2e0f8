package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/modes"
	"uvs/sched"
)

// needsCheck reports whether checkExisting has anything to decide about a
// packet from the client. For nearly all it has not.
func (w *worker) needsCheck(f *frame.Frame, s *service.Server) bool {
	return s == nil || s.NeedsPolicy.Load() || f.Info.TCPFlags&frame.FlagSYN != 0 || f.Info.Proto == frame.ProtoSCTP
}

// checkExisting decides about a packet from the client of connection c that may begin a
// new one, or whose server was removed or drains. The verdict is Continue if it is to be
// forwarded like any other.
func (w *worker) checkExisting(f *frame.Frame, c *conntrack.Conn, s *service.Server) frame.Verdict {
	if s != nil && !c.Has(conntrack.OnePacket) {
		if p := s.Policy.Load(); p != nil && *p != (config.Policy{}) && s.NeedsPolicy.Load() {
			if v := w.serverGone(f, c, s, p); v != frame.Continue {
				return v
			}
		}
	}
	if !c.Has(conntrack.OnePacket) && w.restarted(f, c, s) {
		return w.openConn(f)
	}
	if s != nil && repeatsSYN(f, c) {
		s.Silence.RepeatedSYN()
		if w.now-c.Seen() >= repeatsAfter && c.FirstSign() {
			s.Refusals.NoReply()
		}
	}
	return w.checkServer(f, c, s)
}

// repeatsAfter is how long a client waits at least before it repeats its SYN for want of an
// answer: half of what RFC 6298 section 2 says. A SYN that comes twice at once shows nothing.
const repeatsAfter = conntrack.TicksPerSecond / 2

// checkServer handles packets of connections that have no server, or whose server
// accepts none now. The verdict is Continue if it does.
func (w *worker) checkServer(f *frame.Frame, c *conntrack.Conn, s *service.Server) frame.Verdict {
	if c.Method() == sched.Bypass {
		return w.direct(f, c)
	}
	if unbound(c) {
		return w.toUnbound(f, c)
	}
	if s == nil || !s.Reachable(w.now) {
		return frame.DropServerGone
	}
	return frame.Continue
}

// serverGone decides by policy p about a packet for a server that was removed or has
// the weight 0. The verdict is Continue if IPVS's rules apply.
func (w *worker) serverGone(f *frame.Frame, c *conntrack.Conn, s *service.Server, p *config.Policy) frame.Verdict {
	over := s.DrainExpired(w.now)
	switch {
	case c.Gone():
		return w.relookup(f) // with an earlier packet of this batch
	case p.Reschedule && f.Info.Proto == frame.ProtoUDP:
		return w.reschedule(f, c)
	case w.begins(f) && (over || s.HasDrainEnd() && !s.Available()):
		return w.reschedule(f, c)
	case !over:
		return frame.Continue
	}
	return w.answerGone(f, c, s, p)
}

// relookup repeats the lookup for a packet whose connection has just been removed.
func (w *worker) relookup(f *frame.Frame) frame.Verdict {
	if c, reply := w.find(f); c != nil && !reply {
		return w.forwardRequest(f, c)
	}
	return w.openConn(f)
}

// reschedule ends a connection and opens another for the same flow.
func (w *worker) reschedule(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if w.rec != nil {
		w.rec.note("policy", "policy-rescheduled", "the server takes no more: scheduled anew")
	}
	if w.reader.Remove(c, w.now) {
		w.fw.gone.rescheduled.Add(1)
		return w.openConn(f)
	}
	if c.Gone() {
		return w.relookup(f)
	}
	return frame.Continue // others depend on it
}

// answerGone answers a packet of a connection whose server was removed.
func (w *worker) answerGone(f *frame.Frame, c *conntrack.Conn, s *service.Server, p *config.Policy) frame.Verdict {
	if w.rec != nil {
		w.rec.note("policy", "policy-gone", "the server is gone: %s", p.Gone)
	}
	if w.resets(f) {
		v := w.toServer(f, c, s) // the client ends it itself
		w.removeGone(c)
		return v
	}
	v := w.sendGone(f, c, s, p)
	if (p.Gone == config.GoneReset || p.Drain > 0) && v != frame.DropICMPRate {
		w.removeGone(c)
	}
	return v
}

// sendGone sends the answer that the policy asks for.
func (w *worker) sendGone(f *frame.Frame, c *conntrack.Conn, s *service.Server, p *config.Policy) frame.Verdict {
	const v = frame.DropServerGone
	switch {
	case p.Gone == config.GoneDrop:
		return v
	case p.Gone == config.GoneICMP, !f.Info.HasPorts:
		return answeredAs(frame.GoneICMP, w.sendICMPError(f, v, func(out *frame.Frame, buf []byte) bool {
			return modes.HostDown(out, buf, f, w.ownAddress(f), w.nextID16())
		}))
	case f.Info.Proto == frame.ProtoUDP:
		return answeredAs(frame.GoneICMP, w.icmpUnreachable(f, modes.PortUnreachable, v))
	}
	w.resetServer(f, c, s)
	return answeredAs(frame.GoneReset, w.answer(f, func(out *frame.Frame, buf []byte) bool {
		return modes.AbortSender(out, buf, f)
	}))
}

// answeredAs gives the verdict of an answer that was sent its own name.
func answeredAs(name, v frame.Verdict) frame.Verdict {
	if v == frame.Answered {
		return name
	}
	return v
}

// removeGone removes a connection that the policy has ended.
func (w *worker) removeGone(c *conntrack.Conn) {
	closing := c.Has(conntrack.Closing)
	if w.reader.Remove(c, w.now) && !closing {
		w.fw.gone.ended.Add(1)
	}
}

// resetServer resets the server's end too: it may still be running, and only be removed
// from the configuration.
func (w *worker) resetServer(f *frame.Frame, c *conntrack.Conn, s *service.Server) {
	route, v := w.routes.to(w, s)
	if v != frame.Continue {
		return
	}
	m := route.mode(w, s, c.Method())
	if m == nil {
		return
	}
	buf := w.arena.alloc(modes.AnswerLen)
	var out frame.Frame
	if buf == nil || !modes.AbortReceiver(&out, buf, f) || w.parser.Parse(&out) != frame.Continue {
		return
	}
	if out.Host = route.hop.Local; out.Host && !w.reachesLocal(c, s) {
		return
	}
	out.MTU = w.mtu(s, route.hop)
	if c.Has(conntrack.Renumbered) {
		w.towardsServer(&out, c)
	}
	if c.Has(conntrack.Helped) {
		w.helpRequest(&out, c)
	}
	if v := m.Request(&out, c); v != frame.Forward {
		return
	}
	if c.Has(conntrack.Renumbered) {
		w.renumberRequest(&out, c)
	}
	if v := w.emit(&out, route.hop); v.IsDrop() {
		w.counters.made++
	}
}

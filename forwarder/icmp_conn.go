package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/modes"
	"uvs/sched"
)

// related forwards an ICMP error about a packet of a connection. The verdict is
// Continue if it is about none. Errors go to a removed server, too: IPVS asks
// that of packets alone (ip_vs_core.c, ip_vs_in_icmp).
func (w *worker) related(f *frame.Frame) frame.Verdict {
	quoted, ok := modes.Embedded(f)
	if !ok {
		return frame.Continue
	}
	// The message travels against the packet it quotes: what is about a reply
	// goes to the server.
	flow := &w.quoted // a scheduler may see it, which would have it on the heap
	*flow = quoted.Reverse()
	if isIPsec(flow.Proto()) {
		*flow = keyExchange(flow)
	}
	c, reply := w.reader.Lookup(flow)
	if w.rec != nil {
		w.rec.found(c, reply, w.now)
	}
	if modes.Damaged(f) && (c != nil || w.schedules(f, flow) != nil) {
		return frame.DropBadChecksum // before anything counts or changes (ip_vs_core.c, ip_vs_in_icmp)
	}
	if c == nil {
		var v frame.Verdict
		if c, v = w.scheduleRelated(f, flow); v != frame.Continue || c == nil {
			return v
		}
	}
	if reply {
		w.learn(f, c)
		if s := w.fw.Server(c.Server); s != nil && modes.IsUnreachable(f) && c.FirstSign() {
			s.Refusals.Unreachable()
		}
		return w.forwardReply(f, c)
	}
	if c.Method() == sched.Bypass {
		return w.direct(f, c)
	}
	s := w.fw.Server(c.Server)
	switch {
	case s == nil:
		return frame.DropServerGone
	case w.leaves(f, c):
		return frame.Pass
	}
	return w.toServer(f, c, s)
}

// learn takes note of the path MTU behind if a router says it of a packet from a
// local address: that is the director's own.
func (w *worker) learn(f *frame.Frame, c *conntrack.Conn) {
	if s := w.fw.Server(c.Server); s != nil && c.Method().NeedsLocal() {
		s.Path.Learn(f, w.now)
	}
}

// scheduleRelated begins the connection of the packet that an ICMP error
// quotes, if schedule_icmp is set and a service has it.
func (w *worker) scheduleRelated(f *frame.Frame, flow *frame.Flow) (*conntrack.Conn, frame.Verdict) {
	svc := w.schedules(f, flow)
	if svc == nil {
		return nil, frame.Continue
	}
	if w.fw.overload.drops() {
		return nil, frame.DropOverload
	}
	return w.schedule(f, flow, svc)
}

// schedules returns the service that an ICMP error about a packet of flow may
// begin a connection to, nil if none.
func (w *worker) schedules(f *frame.Frame, flow *frame.Flow) *service.Service {
	if w.sysctl.ScheduleICMP == 0 || flow.SrcPort() == service.FTPDataPort {
		return nil
	}
	return w.services.Match(flow, w.conf.Mark(&f.Flow))
}

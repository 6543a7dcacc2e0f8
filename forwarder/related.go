package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
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
	flow := quoted.Reverse()
	if isIPsec(flow.Proto()) {
		flow = exchange(&flow)
	}
	c, reply := w.reader.Lookup(&flow)
	if w.rec != nil {
		w.rec.found(c, reply)
	}
	if c == nil {
		var v frame.Verdict
		if c, v = w.scheduleRelated(f, &flow); v != frame.Continue || c == nil {
			return v
		}
	}
	if reply {
		return w.reply(f, c)
	}
	if c.Method() == sched.Bypass {
		return w.direct(f, c)
	}
	s := w.fw.Server(c.Server)
	if s == nil {
		return frame.DropServerGone
	}
	return w.toServer(f, c, s)
}

// scheduleRelated begins the connection of the packet that an ICMP error
// quotes, if schedule_icmp is set and a service has it.
func (w *worker) scheduleRelated(f *frame.Frame, flow *frame.Flow) (*conntrack.Conn, frame.Verdict) {
	if w.sysctl.ScheduleICMP == 0 || flow.SrcPort() == ftpDataPort {
		return nil, frame.Continue
	}
	svc := w.services.Match(flow, w.conf.mark(&f.Flow))
	if svc == nil {
		return nil, frame.Continue
	}
	if w.fw.overload.drops() {
		return nil, frame.DropOverload
	}
	return w.schedule(f, flow, svc)
}

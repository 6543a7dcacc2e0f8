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
	if c == nil {
		var v frame.Verdict
		if c, v = w.scheduleRelated(f, &flow); v != frame.Continue || c == nil {
			return v
		}
	}
	if reply {
		return w.reply(f, c)
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
	if svc == nil || svc.OnePacket {
		return nil, frame.Continue
	}
	if w.fw.overload.drops() {
		return nil, frame.DropOverload
	}
	return w.schedule(f, flow, svc)
}

// relay tells a client about an error on the way through a tunnel to its
// server, and notes the path MTU. The verdict is Continue if the message is
// about no tunnel of ours.
func (w *worker) relay(f *frame.Frame) frame.Verdict {
	outer, inner, ok := modes.Wrapped(f)
	if !ok {
		return frame.Continue
	}
	c, reply := w.reader.Lookup(&inner)
	if c == nil || reply || c.Method() != sched.Tunnel || outer.Dst16() != c.Real {
		return frame.Continue
	}
	s := w.fw.Server(c.Server)
	if s == nil {
		return frame.Continue
	}
	way, v := w.ways.to(w, s)
	if v != frame.Continue || way.tunnel == nil || way.tunnel.Options.Src != outer.Src() {
		return frame.Continue
	}
	mtu := way.mtu(sched.Tunnel, s, w.now) - way.tunnel.Overhead()
	if m, ok := modes.PathMTU(f); ok {
		s.path.learn(m, w.now)
	}
	return w.tellClient(f, c, mtu)
}

// tellClient sends the client of c what an error about its tunnel means to it.
func (w *worker) tellClient(f *frame.Frame, c *conntrack.Conn, mtu int) frame.Verdict {
	hop, v := w.hops.lookup(w.fw.neigh, w.links, &c.Client)
	if v != frame.Continue {
		return v
	}
	if !w.icmp.take(w.clock) {
		return frame.DropICMPRate
	}
	buf := w.arena.alloc(modes.AnswerLen)
	if buf == nil {
		return frame.DropNoMemory
	}
	var out frame.Frame
	if !modes.Relay(&out, buf, f, mtu, w.nextID16()) {
		return frame.Answered // the client need not know
	}
	if v := w.emit(&out, hop); v != frame.Forward {
		return v
	}
	return frame.Answered
}

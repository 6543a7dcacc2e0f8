package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/service"
	"uvs/modes"
)

// relay tells a client about an error on the path of a tunnel, which came to the
// director because the outer packet is the director's (ip_vs_core.c, ip_vs_in_icmp). It
// reports false if the message is no such error.
func (w *worker) relay(f *frame.Frame) (frame.Verdict, bool) {
	outer, inner, ok := modes.QuotedTunnel(f)
	if !ok {
		return 0, false
	}
	c, reply := w.reader.Lookup(&inner)
	if c == nil || reply || !c.Method().Encapsulates() {
		return 0, false
	}
	s := w.fw.Server(c.Server)
	if s == nil {
		return 0, false
	}
	route, v := w.routes.to(w, s)
	if v != frame.Continue {
		return 0, false
	}
	t, ok := route.mode(w, s, c.Method()).(modes.Encapsulator)
	if !ok || !t.Sends(outer) {
		return 0, false
	}
	if modes.Damaged(f) {
		return frame.DropBadChecksum, true
	}
	told := w.mtu(s, route.hop) // as IPVS, which looks before the kernel has learned it
	s.Path.Learn(f, w.now)
	return w.countICMPError(c, w.relayToClient(f, c, told-t.Overhead())), true
}

func (w *worker) relayToClient(f *frame.Frame, c *conntrack.Conn, mtu int) frame.Verdict {
	hop, v := w.hops.lookup(w.fw.neigh, &c.Client)
	if v != frame.Continue {
		return v
	}
	if !w.icmpLimit.take(w.clock) {
		return frame.DropICMPRate
	}
	buf := w.arena.alloc(modes.AnswerLen)
	if buf == nil {
		return frame.DropNoMemory
	}
	var out frame.Frame
	if !modes.RelayTunnelError(&out, buf, f, mtu, w.nextID16()) {
		return frame.Pass
	}
	out.MTU, w.answerLen = hop.MTU, out.L3Len()
	if v := w.emit(&out, hop); v.IsDrop() {
		return v
	}
	return frame.Answered
}

// mtu returns the path MTU to a server in bytes: that of the route, or what a router
// behind it reported.
func (w *worker) mtu(s *service.Server, hop *neigh.Hop) int {
	if learned := s.Path.Get(w.now); learned > 0 {
		return min(hop.MTU, learned)
	}
	return hop.MTU
}

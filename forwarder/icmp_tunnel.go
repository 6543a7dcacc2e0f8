package forwarder

import (
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/modes"
	"uvs/sched"
)

// relay tells a client about an error on the way through a tunnel, which came
// to the director because the outer packet is the director's (ip_vs_core.c,
// ip_vs_in_icmp). It reports false if the message is no such error.
func (w *worker) relay(f *frame.Frame) (frame.Verdict, bool) {
	outer, inner, ok := modes.QuotedTunnel(f)
	if !ok {
		return 0, false
	}
	c, reply := w.reader.Lookup(&inner)
	if c == nil || reply || c.Method() != sched.Tunnel {
		return 0, false
	}
	s := w.fw.Server(c.Server)
	if s == nil {
		return 0, false
	}
	route, v := w.routes.to(w, s)
	t := s.tunnelMode.Load()
	if v != frame.Continue || t == nil || t.Options.Dst != outer.Dst() || t.Options.Src != outer.Src() {
		return 0, false
	}
	if modes.Damaged(f) {
		return frame.DropBadChecksum, true
	}
	told := w.mtu(s, route.hop) // as IPVS, which looks before the kernel has learned it
	s.path.learn(f, w.now)
	return w.told(c, w.relayToClient(f, c, told-t.Overhead())), true
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
	out.MTU, w.answered = hop.MTU, out.L3Len()
	if v := w.emit(&out, hop); v != frame.Forward {
		return v
	}
	return frame.Answered
}

// mtu returns the size in bytes of the largest packet on the way to a server:
// the route's, or what a router behind it told.
func (w *worker) mtu(s *Server, hop *neigh.Hop) int {
	if learned := s.path.mtu(w.now); learned > 0 {
		return min(hop.MTU, learned)
	}
	return hop.MTU
}

// path is the path MTU to a server by TUN or FULLNAT as routers told it (RFC 1191, RFC
// 8201): the MTU in the low 16 bits, the tick it is forgotten at above them, or
// 0 for none. It is safe for concurrent use.
type path struct{ v atomic.Uint64 }

const (
	// pathLife is how long a path MTU is believed (net.ipv4.route.mtu_expires).
	pathLife = 600 * conntrack.TicksPerSecond
	// minPath is the least path MTU over IPv4 that is believed, against forged
	// messages (net.ipv4.route.min_pmtu); minPath6 is IPv6's least MTU.
	minPath  = 552
	minPath6 = 1280
)

func (p *path) mtu(now conntrack.Tick) int {
	v := p.v.Load()
	if v == 0 || int32(conntrack.Tick(v>>16)-now) <= 0 {
		return 0
	}
	return int(v & 0xffff)
}

// learn notes what an ICMP error says of the way's MTU, if it does.
func (p *path) learn(f *frame.Frame, now conntrack.Tick) {
	mtu, ok := modes.PathMTU(f)
	if !ok {
		return
	}
	least := minPath
	if f.Is6() {
		least = minPath6
	}
	p.v.Store(uint64(now+pathLife)<<16 | uint64(max(mtu, least)))
}

package forwarder

import (
	"net"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/forwarder/service"
)

// The host itself can be a client, and its addresses real servers. The driver's sender
// for the loopback interface delivers packets to it (package host). The guard redirects
// what it sends to that interface, where a worker like any other receives it; some of
// it arrives there anyway. Whether an address is the host's is checked for each packet,
// as IPVS does: servers become local and remote as addresses come and go (ip_vs_xmit.c,
// __ip_vs_get_out_rt).

// hostGuard is a Guard that can redirect the host's own packets to the director.
type hostGuard interface {
	RedirectsHost() bool
	AddReply(r guard.Reply) error
	RemoveReply(r guard.Reply) error
}

// redirectsHost reports whether the host's own packets are redirected to the director.
func (fw *Forwarder) redirectsHost() bool {
	g, ok := fw.conf.Guard.(hostGuard)
	return ok && g.RedirectsHost()
}

// hostMTU stands for the loopback interface's MTU of 64 KiB: the packets redirected to
// it were built for other interfaces, and for lack of a better value it bounds the
// length of their segments.
const hostMTU = 1500

// loopback returns the interface on which the host's own packets are received and sent.
func loopback() []neigh.Link {
	lo, err := net.InterfaceByName("lo")
	if err != nil || lo.Flags&net.FlagUp == 0 {
		return nil
	}
	return []neigh.Link{{Index: lo.Index, Name: lo.Name, MTU: hostMTU, Up: true, Loopback: true, Ethernet: true}}
}

// reachesLocal reports whether a server that is the host itself gets packets of a
// connection. The methods that translate nothing need the host to have the
// virtual address, and nobody reaches a loopback address from outside by NAT:
// IPVS drops both (ip_vs_xmit.c, crosses_local_route_boundary and
// ip_vs_nat_xmit).
func (w *worker) reachesLocal(c *conntrack.Conn, s *service.Server) bool {
	switch m := c.Method(); {
	case m.NeedsLocal():
		return true
	case m.Translates():
		return !s.Addr.Addr().IsLoopback() || w.isHost(&c.Client)
	}
	if s.Key.Mark != 0 {
		return w.fw.neigh.LocalAddr(c.VirtualAddr().Addr())
	}
	return !w.conf.Owns(c.Virtual)
}

// isHost reports whether an address is the host's.
func (w *worker) isHost(addr *[16]byte) bool {
	hop, v := w.hops.lookup(w.fw.neigh, addr)
	return v == frame.Continue && hop.Local
}

// localReply reports whether a packet of the host is the reply of a server that got its
// requests unchanged, say by direct routing. It is forwarded unchanged; it counts, and
// updates the connection's state, as in IPVS, which finds such connections too
// (ip_vs_conn.c, ip_vs_conn_out_get).
func (w *worker) localReply(f *frame.Frame) bool {
	flow := f.Flow.Reverse()
	c, reply := w.reader.Lookup(&flow)
	if c == nil || reply || !c.Method().Direct() {
		return false
	}
	s := w.fw.Server(c.Server)
	if s == nil || !w.fw.neigh.LocalAddr(s.Addr.Addr()) {
		return false
	}
	t := w.counters.server(c.Server)
	t.OutPkts++
	t.OutBytes += uint64(f.L3Len())
	w.advance(f, c, s, conntrack.Reply)
	return true
}

// forwardLocal sends a packet that the host sent and the guard redirected here to its
// destination: it does not concern the director. What arrived on the loopback interface
// without the guard has reached the host already.
func (w *worker) forwardLocal(f *frame.Frame) frame.Verdict {
	if !f.Is4() && !f.Is6() {
		return frame.Pass
	}
	dst := f.Flow.Dst16()
	hop, v := w.hops.lookup(w.fw.neigh, &dst)
	if v != frame.Continue {
		return v
	}
	if hop.Local {
		return frame.Pass
	}
	f.MTU = hop.MTU
	return w.emit(f, hop)
}

// deliverLocal gives the host a packet that the guard need not have dropped: the reply
// of a real server to a health check, to an address that FULLNAT uses too, or one for
// an endpoint that only connections still have.
func (w *worker) deliverLocal(f *frame.Frame) frame.Verdict {
	dst := f.Flow.Dst16()
	hop, v := w.hops.lookup(w.fw.neigh, &dst)
	if v != frame.Continue || !hop.Local {
		return frame.Pass
	}
	f.MTU = hop.MTU
	return w.emit(f, hop)
}

// fromHost reports whether the client of a new connection is the host. Others
// may forge its address, but not on these interfaces.
func (w *worker) fromHost(c *conntrack.Conn) bool {
	return (w.link.Loopback || w.link.Name == w.fw.conf.HostLink) && w.isHost(&c.Client)
}

// guardReply keeps the replies to a client that is the host from its stack, which
// knows no such connection and would reset it: other packets of the real server,
// answers to health checks, are the host's. It reports whether the packet at hand
// has to wait for that.
func (fw *Forwarder) guardReply(c *conntrack.Conn) bool {
	g, ok := fw.conf.Guard.(hostGuard)
	if !ok {
		return false
	}
	r := replyOf(c)
	return fw.guardQueue.put(guardStep{change: func() error { return g.AddReply(r) }})
}

// unguardReply undoes holdReply, if it was done.
func (fw *Forwarder) unguardReply(c *conntrack.Conn) {
	if g, ok := fw.conf.Guard.(hostGuard); ok {
		r := replyOf(c)
		fw.guardQueue.put(guardStep{change: func() error { return g.RemoveReply(r) }})
	}
}

func replyOf(c *conntrack.Conn) guard.Reply {
	return guard.Reply{Proto: c.Proto(), From: c.RealAddr(), To: c.ClientAddr()}
}

package forwarder

import (
	"net/netip"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/sched"
)

// bypasses reports whether a packet for which a service has no server goes to its own
// destination, as cache_bypass asks: services by mark receive packets addressed to
// others, and stand between them and, say, a cache (ip_vs_core.c, ip_vs_leave).
func (w *worker) bypasses(f *frame.Frame, flow *frame.Flow, svc *service.Service) bool {
	if w.sysctl.CacheBypass == 0 || svc.Mark == 0 || f.Info.Proto != flow.Proto() { // a quoted packet is not itself forwarded
		return false
	}
	dst := flow.Dst()
	if w.conf.Owns(flow.Dst16()) || w.fw.neigh.LocalAddr(dst) {
		return false
	}
	return !dst.IsMulticast() && !dst.IsUnspecified() && dst != service.Broadcast
}

// bypass starts a connection with the destination itself, which belongs to no server
// and counts for none.
func (w *worker) bypass(f *frame.Frame, flow *frame.Flow, svc *service.Service) frame.Verdict {
	c := conntrack.Make(flow, sched.Bypass, 0)
	c.Real = netip.IPv6Unspecified().As16()
	if flow.Is4() {
		c.Real = netip.IPv4Unspecified().As16()
	}
	if svc.OnePacket && flow.Proto() == frame.ProtoUDP {
		w.single = c
		w.single.SetFlags(conntrack.OnePacket)
		return w.direct(f, &w.single)
	}
	kept, _ := w.reader.Insert(&c, w.now)
	if kept == nil {
		return frame.DropConnTableFull
	}
	if w.rec != nil {
		w.rec.opened(kept)
	}
	return w.direct(f, kept)
}

// direct forwards a packet or an ICMP message of a connection without a server
// to where it is addressed (ip_vs_xmit.c, ip_vs_bypass_xmit).
func (w *worker) direct(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	w.advance(f, c, nil, conntrack.Request)
	hop, v := w.hops.lookup(w.fw.neigh, &c.Virtual)
	if v != frame.Continue {
		return w.icmpHostUnreachable(f)
	}
	if hop.Local {
		return frame.DropNoRoute
	}
	f.MTU = hop.MTU
	if v := transit.Request(f, c); v != frame.Forward {
		return w.icmpForVerdict(f, v)
	}
	if w.sync != nil {
		w.synchronize(c)
	}
	return w.emit(f, hop)
}

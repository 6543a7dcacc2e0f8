package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
)

// forward takes one parsed and looked-up frame to its end.
func (w *worker) forward(f *frame.Frame, v frame.Verdict, found conntrack.Found) frame.Verdict {
	if v != frame.Continue {
		return v
	}
	switch {
	case f.Info.EtherType == frame.EtherARP:
		return w.answerNeighbour(f)
	case f.Info.Fragment:
		return w.fragment(f)
	case f.Info.Proto == frame.ProtoICMP && f.Is4(), f.Info.Proto == frame.ProtoICMPv6 && f.Is6():
		return w.message(f)
	}
	if found.Conn == nil {
		// The flow may have begun earlier in this very batch.
		found = w.fw.conns.Lookup(&f.Flow)
	}
	return w.known(f, found)
}

// known forwards a frame of a connection, or begins one.
func (w *worker) known(f *frame.Frame, found conntrack.Found) frame.Verdict {
	switch {
	case found.Conn == nil:
		return w.open(f)
	case found.Reply:
		return w.reply(f, found.Conn)
	}
	return w.request(f, found.Conn)
}

// answerNeighbour answers ARP and neighbour discovery for the addresses the
// director owns, out of the interface that asked.
func (w *worker) answerNeighbour(f *frame.Frame) frame.Verdict {
	v := w.fw.neigh.Answer(f)
	if v == frame.Answered {
		f.Egress = w.link.Index
		w.out.add(f, w.links)
	}
	return v
}

// request forwards a packet from the client to the real server.
func (w *worker) request(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	s := w.fw.services.Server(c.Server)
	if s == nil || !s.Available() {
		return frame.DropServerGone
	}
	t := w.tally.server(c.Server)
	t.InPkts++
	t.InBytes += uint64(f.L3Len())
	w.advance(f, c, s, conntrack.In)
	m := s.mode(c.Method())
	hop, v := w.hops.lookup(w.fw.neigh, &c.Real)
	if v != frame.Continue {
		return w.hostUnreachable(f, v)
	}
	if v := w.fits(f, hop.MTU-m.Overhead(f, c)); v != frame.Continue {
		return v
	}
	if f.Offload.Super() && !m.CarriesSuper() {
		return w.segments(f, c, s, hop)
	}
	f.DecrementTTL()
	if v := m.Request(f, c); v != frame.Continue {
		return v
	}
	return w.emit(f, hop)
}

// reply forwards a packet from the real server to the client; only translating
// forwarding methods ever see one.
func (w *worker) reply(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	s := w.fw.services.Server(c.Server)
	if s == nil {
		return frame.DropServerGone
	}
	t := w.tally.server(c.Server)
	t.OutPkts++
	t.OutBytes += uint64(f.L3Len())
	hop, v := w.hops.lookup(w.fw.neigh, &c.Client)
	if v != frame.Continue {
		return v
	}
	if v := w.fits(f, hop.MTU); v != frame.Continue {
		return v
	}
	w.advance(f, c, s, conntrack.Out)
	f.DecrementTTL()
	if v := s.mode(c.Method()).Reply(f, c); v != frame.Continue {
		return v
	}
	return w.emit(f, hop)
}

// advance moves the connection's state and tells the server and its scheduler
// if that changed what they count.
func (w *worker) advance(f *frame.Frame, c *conntrack.Conn, s *Server, d conntrack.Direction) {
	if ch := w.fw.conns.Advance(c, f.Info.TCPFlags, d, w.now, w.timeouts); ch != (conntrack.Change{}) {
		s.Count(ch.Active, ch.Inactive, 0)
	}
}

// fits answers a packet whose hops are used up or that is larger than mtu bytes
// and may not be fragmented, towards its sender.
func (w *worker) fits(f *frame.Frame, mtu int) frame.Verdict {
	if f.Info.TTL <= 1 {
		return w.timeExceeded(f)
	}
	if f.PacketLen() <= mtu || f.Is4() && !f.Info.DF {
		return frame.Continue
	}
	return w.tooBig(f, mtu)
}

// emit gives the frame its MAC addresses and puts it into the outbox, in
// fragments if it is larger than the way can carry.
func (w *worker) emit(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	f.Egress = hop.Link
	f.SetMACs(hop.DstMAC[:], hop.SrcMAC[:])
	if f.PacketLen() > hop.MTU {
		return w.emitFragments(f, hop)
	}
	return w.emitOne(f, hop)
}

func (w *worker) emitOne(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	if !hop.Resolved {
		return w.fw.neigh.Queue(hop, f)
	}
	if !w.out.add(f, w.links) {
		return frame.DropNoRoute
	}
	return frame.Forward
}

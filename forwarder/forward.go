package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/service"
	"uvs/modes"
	"uvs/sched/sim"
)

// forward processes one parsed and looked-up frame to its verdict.
func (w *worker) forward(f *frame.Frame, v frame.Verdict, found conntrack.Found) frame.Verdict {
	if v == frame.Continue {
		v = w.decide(f, found)
	}
	if v == frame.Pass && w.link.Loopback {
		return w.forwardLocal(f)
	}
	return v
}

func (w *worker) decide(f *frame.Frame, found conntrack.Found) frame.Verdict {
	if f.Info.EtherType == frame.EtherARP || discovers(f) {
		return w.answerNeighbour(f)
	}
	if v := w.admit(f, found); v != frame.Continue {
		return w.notAdmitted(f, v)
	}
	switch {
	case w.sysctl.BackupOnly != 0 && w.fw.sync.backup.Load():
		return w.deliverLocal(f) // for a real server of the active director, say (ip_vs_core.c, ip_vs_in)
	case f.Info.Fragment:
		return w.fragment(f)
	case f.Info.Proto == frame.ProtoICMP && f.Is4(), f.Info.Proto == frame.ProtoICMPv6 && f.Is6():
		return w.icmp(f)
	}
	if found.Conn == nil || found.Conn.Gone() {
		// The flow may have begun or ended earlier in this very batch.
		found.Conn, found.Reply = w.find(f)
	}
	if w.rec != nil {
		w.rec.found(found.Conn, found.Reply, w.now)
	}
	switch {
	case w.services.Len() == 0 && !w.fw.HasDraining.Load():
		return w.noService(f) // without any service IPVS is off, connections or not (ip_vs_core.c)
	case found.Conn == nil && w.link.Loopback && w.localReply(f):
		return frame.Pass
	case found.Conn == nil:
		return w.openConn(f)
	case found.Reply:
		return w.forwardReply(f, found.Conn)
	case w.leaves(f, found.Conn):
		return frame.Pass
	}
	return w.forwardRequest(f, found.Conn)
}

// answerNeighbour answers ARP and neighbour discovery for the addresses the
// director owns, out of the interface that asked.
func (w *worker) answerNeighbour(f *frame.Frame) frame.Verdict {
	v := w.fw.neigh.Answer(f)
	if v == frame.Answered {
		f.Egress, f.Counts = w.link.Index, 0
		w.tx.add(f, w.links)
	}
	return v
}

// fragment collects the fragments of a datagram that may concern a service, and
// forwards it whole when the last has arrived, as IPVS does (ip_vs_core.c,
// ip_vs_gather_frags). All of them count under the verdict of the datagram.
func (w *worker) fragment(f *frame.Frame) frame.Verdict {
	if !w.conf.Concerns(&f.Flow) {
		return frame.Pass
	}
	whole, v := w.frags.Add(f, w.clock)
	w.alsoCounted = w.frags.Ended
	if v == frame.Queued {
		w.alsoCounted = notYet
	}
	if v != frame.Continue {
		return v
	}
	if v := w.parser.Parse(whole); v != frame.Continue {
		return v
	}
	whole.Counts = uint16(1 + w.alsoCounted)
	return w.forward(whole, frame.Continue, conntrack.Found{})
}

// find returns the connection of a frame. AH and ESP belong to that of the key
// exchange between the same ends (ip_vs_proto_ah_esp.c).
func (w *worker) find(f *frame.Frame) (c *conntrack.Conn, reply bool) {
	flow := f.Flow
	if isIPsec(flow.Proto()) {
		flow = keyExchange(&flow)
	}
	if c, reply = w.reader.Lookup(&flow); c != nil {
		return c, reply
	}
	if e := w.reader.Expected(&flow); e != nil {
		c = w.reader.Complete(e, flow.SrcPort(), w.now)
		if c != nil && c.Has(conntrack.FromHost) {
			f.Held = w.fw.guardReply(c)
		}
		return c, false
	}
	return nil, false
}

// forwardRequest forwards a packet from the client, in the order of IPVS: does it start
// a new connection, is the server available, how does it change the state
// (ip_vs_core.c, ip_vs_in).
func (w *worker) forwardRequest(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if c.Has(conntrack.Renumbered) {
		if h, ok := w.fw.conns.Opening(c); ok {
			return w.early(f, c, h)
		}
	}
	s := w.fw.Server(c.Server)
	if w.needsCheck(f, s) {
		if v := w.checkExisting(f, c, s); v != frame.Continue {
			return v
		}
	}
	return w.request(f, c, s)
}

// request counts a packet from the client, sends it to the real server, and lets backups
// know.
func (w *worker) request(f *frame.Frame, c *conntrack.Conn, s *service.Server) frame.Verdict {
	w.advance(f, c, s, conntrack.Request)
	v := w.toServer(f, c, s)
	if w.sync != nil {
		w.synchronize(c)
	}
	return v
}

// forwardFirst is forwardRequest for a packet that has just opened its connection and
// does not start another.
func (w *worker) forwardFirst(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	s := w.fw.Server(c.Server)
	if v := w.checkServer(f, c, s); v != frame.Continue {
		return v
	}
	return w.request(f, c, s)
}

// toServer counts a packet or an ICMP message of a connection and sends it to
// the real server.
func (w *worker) toServer(f *frame.Frame, c *conntrack.Conn, s *service.Server) frame.Verdict {
	t := w.counters.server(c.Server)
	t.InPkts++
	t.InBytes += uint64(f.L3Len())
	route, v := w.routes.to(w, s)
	if v != frame.Continue {
		return w.countICMPError(c, w.icmpHostUnreachable(f))
	}
	m := route.mode(w, s, c.Method())
	if m == nil {
		return frame.DropUnsupported
	}
	if f.Host = route.hop.Local; f.Host && !w.reachesLocal(c, s) {
		return w.icmpForVerdict(f, frame.DropNoRoute)
	}
	f.MTU = w.mtu(s, route.hop)
	if c.Has(conntrack.Renumbered) {
		w.towardsServer(f, c)
	}
	if f.Offload.Super() && !m.Whole() {
		return w.segments(f, c, m, route.hop)
	}
	if c.Has(conntrack.Helped) {
		w.helpRequest(f, c)
	}
	if v := m.Request(f, c); v != frame.Forward {
		return w.countICMPError(c, w.icmpForVerdict(f, v))
	}
	if c.Has(conntrack.Renumbered) {
		w.renumberRequest(f, c)
	}
	if f.Held {
		return w.emitAfterGuard(f, route.hop)
	}
	return w.emit(f, route.hop)
}

// countICMPError counts the director's own ICMP error about a packet of connection c,
// if one was sent, as a packet to the client: IPVS does so for the methods that leave
// the virtual address in the quoted packet, which makes the error look like one about a
// reply (ip_vs_core.c, ip_vs_out_icmp; ip_vs_conn.c, ip_vs_conn_out_get).
func (w *worker) countICMPError(c *conntrack.Conn, v frame.Verdict) frame.Verdict {
	if v == frame.Answered && c.Method().Direct() {
		t := w.counters.server(c.Server)
		t.OutPkts++
		t.OutBytes += uint64(w.answerLen)
	}
	return v
}

// segments splits a frame that is several in one for a method that cannot carry
// it, and forwards each.
func (w *worker) segments(f *frame.Frame, c *conntrack.Conn, m modes.Mode, hop *neigh.Hop) frame.Verdict {
	if f.TooManySegments() {
		return frame.DropSegments
	}
	seg, ok := f.Segments()
	if !ok {
		return frame.DropUnsupported
	}
	return cut(w, &seg, func(out *frame.Frame) frame.Verdict {
		out.MTU, out.Host = f.MTU, f.Host
		if v := m.Request(out, c); v != frame.Forward {
			return w.countICMPError(c, w.icmpForVerdict(out, v))
		}
		return w.emit(out, hop)
	})
}

// cutter makes several frames of one: a frame.Segmenter or a frame.Fragmenter.
type cutter interface {
	BufferLen() int
	Next(out *frame.Frame, buf []byte) bool
}

// cut builds each frame in the worker's arena and processes it, until one does not
// continue; it returns the verdict of the last. A frame for which there is no memory is
// lost with all that follow, and that is counted.
func cut[C cutter](w *worker, from C, do func(*frame.Frame) frame.Verdict) frame.Verdict {
	out := &w.pieces[w.depth] // a segment may be cut again
	w.depth++
	defer func() { w.depth-- }()
	verdict := frame.DropNoMemory
	for {
		buf := w.arena.alloc(from.BufferLen())
		if buf == nil {
			return frame.DropNoMemory
		}
		*out = frame.Frame{}
		if !from.Next(out, buf) {
			return verdict
		}
		if verdict = do(out); verdict != frame.Forward && verdict != frame.Queued {
			return verdict
		}
	}
}

// forwardReply forwards a packet from the real server, or an ICMP message from its
// side, to the client. Only translating methods ever see one. What a router would not
// forward does not count for the connection: IPVS comes after that check (ip_forward.c,
// ip_forward).
func (w *worker) forwardReply(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	s := w.fw.Server(c.Server)
	if s == nil && !unbound(c) {
		return frame.DropServerGone
	}
	if c.Has(conntrack.Renumbered) {
		if v := w.answerOpening(f, c, s); v != frame.Continue {
			return v
		}
	}
	hop, v := w.hops.lookup(w.fw.neigh, &c.Client)
	if v != frame.Continue {
		return v
	}
	f.MTU, f.Host = hop.MTU, hop.Local || w.link.Loopback
	if v := modes.Forwardable(f); v != frame.Forward {
		return w.icmpForVerdict(f, v)
	}
	t := w.counters.server(c.Server)
	t.OutPkts++
	t.OutBytes += uint64(f.L3Len())
	w.advance(f, c, s, conntrack.Reply)
	if c.Has(conntrack.Helped) && !w.helpReply(f, c) {
		return frame.DropUnsupported
	}
	if v := w.fw.modes.Reply(f, c); v != frame.Forward {
		return w.icmpForVerdict(f, v)
	}
	if c.Has(conntrack.Renumbered) {
		w.renumberReply(f, c)
	}
	if f.Held {
		return w.emitAfterGuard(f, hop)
	}
	return w.emit(f, hop)
}

// advance updates the connection's state, and tells the server, if there is one, and
// its scheduler if that changed their counts. ICMP messages change no state.
func (w *worker) advance(f *frame.Frame, c *conntrack.Conn, s *service.Server, d conntrack.Direction) {
	if c.Has(conntrack.OnePacket) && d == conntrack.Request {
		return
	}
	ev := conntrack.Packet
	switch f.Info.Proto {
	case frame.ProtoTCP:
		ev = conntrack.TCPEvent(f.Info.TCPFlags)
	case frame.ProtoSCTP:
		ev, _ = conntrack.SCTPEvent(f.L4())
	case frame.ProtoICMP, frame.ProtoICMPv6:
		return
	}
	if d == conntrack.Reply && s != nil && refuses(f) && c.FirstSign() {
		s.Refusals.Reset()
	}
	if ch := w.fw.conns.Advance(c, ev, d, w.now, w.rules); ch != conntrack.Unchanged && s != nil {
		active, inactive := ch.Counts()
		s.Count(active, inactive, 0)
		if active > 0 {
			w.fw.became(sim.Active, c)
		} else if inactive > 0 {
			w.fw.became(sim.Inactive, c)
		}
	}
	if localTCP(f, c) {
		w.observeEnding(f, c, d)
	}
}

// emit sets the frame's MAC addresses and queues it, in fragments if it is larger than
// the path MTU or arrived in fragments. The host gets a datagram whole.
func (w *worker) emit(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	f.Egress = hop.Link
	if f.MTU == 0 {
		f.MTU = hop.MTU
	}
	if f.Pieces != nil && !hop.Local || f.L3Len() > f.MTU && !f.Offload.Super() {
		return w.emitFragments(f, hop)
	}
	if f.Offload.Super() {
		return w.emitSuper(f, hop)
	}
	return w.emitOne(f, hop)
}

// emitSuper emits a frame of several segments. One of too many segments is neither sent
// nor left to the kernel to split.
func (w *worker) emitSuper(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	switch {
	case f.TooManySegments():
		return frame.DropSegments
	case f.SegmentLen() > f.MTU:
		return w.emitSegments(f, hop)
	}
	return w.emitOne(f, hop)
}

func (w *worker) emitOne(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	if !hop.Resolved {
		if w.rec != nil {
			w.rec.queued(w, f, hop)
		}
		return w.queue(f, hop)
	}
	f.SetMACs(hop.DstMAC[:], hop.SrcMAC[:])
	if w.rec != nil {
		w.rec.emitted(w, f, hop)
	}
	if !w.tx.add(f, w.links) {
		return frame.DropNoRoute
	}
	return frame.Forward
}

// queue has a frame wait for the MAC address of its next hop.
func (w *worker) queue(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	w.account.wait(f)
	v := w.fw.neigh.Queue(hop, f)
	if v != frame.Queued {
		w.account.unwait(f)
	}
	return v
}

func (w *worker) emitFragments(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	f.CompleteChecksum()
	fragments, ok := f.Fragments(f.MTU, w.nextID())
	if !ok {
		return frame.DropTooBig
	}
	return cut(w, &fragments, func(out *frame.Frame) frame.Verdict { return w.emitOne(out, hop) })
}

// emitSegments splits a super-frame whose segments are larger than the path MTU and may
// be fragmented.
func (w *worker) emitSegments(f *frame.Frame, hop *neigh.Hop) frame.Verdict {
	seg, ok := f.Segments()
	if !ok {
		return frame.DropUnsupported
	}
	return cut(w, &seg, func(out *frame.Frame) frame.Verdict {
		out.MTU = f.MTU
		return w.emitFragments(out, hop)
	})
}

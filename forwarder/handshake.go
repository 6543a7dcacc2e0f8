package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/modes"
)

// answerOpening handles a packet of the server of a connection that may wait for it. The
// verdict is Continue if it goes on to the client like any other.
func (w *worker) answerOpening(f *frame.Frame, c *conntrack.Conn, s *service.Server) frame.Verdict {
	h, ok := w.fw.conns.Opening(c)
	if !ok || f.Info.Proto != frame.ProtoTCP {
		return frame.Continue
	}
	ref := w.fw.conns.Ref(c)
	seq, ack := f.TCPSeq()
	isn, known := w.fw.openings.of(ref)
	fits := !known || ack-w.fw.conns.Renumber(c).SeqOffset == isn+1
	switch flags := f.Info.TCPFlags; {
	case flags&frame.FlagACK == 0:
		return frame.DropEarly
	case !fits && flags&frame.FlagRST == 0:
		return w.denyServer(f, c, s)
	case !fits:
		return frame.DropEarly
	case flags&frame.FlagRST != 0:
		w.fw.conns.Answer(c, seq-1, 0, conntrack.NoScale) // so that the client finds the number that it expects
		w.fw.endOpening(ref)
		w.fw.openings.refused.Add(1)
		return frame.Continue
	case flags&frame.FlagSYN == 0:
		return frame.DropEarly
	}
	return w.complete(f, c, s, h)
}

// complete completes the handshake with the server, whose SYN f is, and lets through
// what has waited for that.
func (w *worker) complete(f *frame.Frame, c *conntrack.Conn, s *service.Server, h conntrack.Handshake) frame.Verdict {
	o := modes.OfferedBy(f)
	seq, _ := f.TCPSeq()
	echo := f.TCPEcho()
	stamp := o.Stamp
	if o.Stamped && stamp == 0 {
		stamp = 1 // 0 stands for none
	}
	w.learnOffer(f, c, s, h, &o)
	if !w.fw.conns.Answer(c, seq, stamp, o.Scale) {
		return frame.DropEarly
	}
	p := w.fw.openings.take(w.fw.conns.Ref(c))
	if p == nil || p.adopted {
		return frame.Continue // kept over a restart: the client's answer completes it
	}
	t := w.counters.server(c.Server)
	t.OutPkts++
	t.OutBytes += uint64(f.L3Len())
	w.advance(f, c, s, conntrack.Reply)
	if w.rec != nil {
		w.rec.note("synproxy", "synproxy-answered", "the server has answered: %d segments that waited go on", len(p.held))
	}
	if len(p.held) == 0 {
		ack := modes.Segment{Seq: p.isn + 1, Ack: h.Cookie + 1, Flags: frame.FlagACK, Window: p.window, Scale: conntrack.NoScale,
			Stamped: h.Stamped, Stamp: echo, Echo: h.Stamp}
		if !w.makeRequest(&w.clientFrame, &ack, &p.flow) || w.forwardRequest(&w.clientFrame, c).IsDrop() {
			w.counters.made++
		}
	}
	for i := range p.held {
		w.release(&p.held[i], c)
	}
	return frame.ProxyAnswered
}

// release forwards a segment that has waited. For what follows, such as the queue for a
// next hop, it is one made here: it ends now.
func (w *worker) release(f *frame.Frame, c *conntrack.Conn) {
	counts := f.Counts
	f.Counts = 0
	v := w.parser.Parse(f)
	if v == frame.Continue {
		v = w.forwardRequest(f, c)
	}
	if !v.IsDrop() {
		v = frame.Queued
	}
	f.Counts = counts
	w.fw.accounts.end(v, []frame.Frame{*f})
}

// learnOffer takes note of what a server announces, for what the next clients are
// offered. The client has had the room for the option of its address already.
func (w *worker) learnOffer(f *frame.Frame, c *conntrack.Conn, s *service.Server, h conntrack.Handshake, o *modes.Offered) {
	offer := s.Offer()
	if offer == nil {
		return
	}
	lacks := uint32(0)
	if h.Stamped && !w.fw.conns.Renumber(c).NoTimestamps {
		lacks = lacking(h, o)
	}
	offer.Learn(o.MSS-min(w.fw.addressRoom(s, f.Is4()), o.MSS/2), lacks)
}

// lacking returns what a server that got a SYN with time stamps did not take of it.
// Without them it says nothing about a server: one that answers with a SYN cookie has
// only its time stamp to keep window scale and SACK in (syncookies.c,
// cookie_init_timestamp).
func lacking(h conntrack.Handshake, o *modes.Offered) (lacks uint32) {
	if !o.Stamped {
		lacks |= service.LacksStamps
	}
	if h.Scale != conntrack.NoScale && o.Scale == conntrack.NoScale {
		lacks |= service.LacksScale
	}
	if h.SACK && !o.SACK {
		lacks |= service.LacksSACK
	}
	return lacks
}

// denyServer resets a connection that a server still has from the client's port: so would
// the client, which knows nothing of it (RFC 9293 section 3.10.7.3).
func (w *worker) denyServer(f *frame.Frame, c *conntrack.Conn, s *service.Server) frame.Verdict {
	_, ack := f.TCPSeq()
	flow := c.RequestFlow()
	rst := modes.Segment{Seq: ack - w.fw.conns.Renumber(c).SeqOffset, Flags: frame.FlagRST, Scale: conntrack.NoScale}
	if !w.makeRequest(&w.clientFrame, &rst, &flow) {
		return frame.DropNoMemory
	}
	if v := w.toServer(&w.clientFrame, c, s); v != frame.Forward && v != frame.Queued {
		return v
	}
	return frame.Answered
}

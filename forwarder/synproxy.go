package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/cookie"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/modes"
)

// The SYN proxy answers a SYN in the place of a server, with a SYN cookie, and keeps
// nothing. When the client's ACK brings the cookie back, the director schedules the
// connection and opens it to the server in the client's name (openings.go). From then on
// it translates the server's numbers into those that the client was told (distance.go).

const (
	// cookiePeriod is how long a secret is the newest one, in ticks: a cookie is good for
	// one to two minutes, as Linux's (syncookies.h, MAX_SYNCOOKIE_AGE).
	cookiePeriod = 60 * conntrack.TicksPerSecond
	// firstWindow is the window in the answer to a SYN: what a client may send before the
	// server has answered, and what is kept of that.
	firstWindow = 14600
	// proxyScale is the window shift that clients are told: Linux's by default, so that
	// the windows of most servers need no translation.
	proxyScale = 7
)

// cookieGeneration returns the generation of secrets at a time. The clock of the connection
// table goes on in the next director, and so do they.
func cookieGeneration(now conntrack.Tick) uint32 { return uint32(now / cookiePeriod) }

// proxies reports whether the SYN proxy handles a packet that belongs to no connection.
// What the host itself sends is no attack.
func (w *worker) proxies(f *frame.Frame, svc *service.Service) bool {
	return svc.SynProxy && f.Info.Proto == frame.ProtoTCP && len(svc.Servers) > 0 && !w.link.Loopback &&
		ownPort(&f.Flow, svc) && f.Flow.SrcPort() != service.FTPDataPort
}

// proxy handles such a packet.
func (w *worker) proxy(f *frame.Frame, svc *service.Service) frame.Verdict {
	if !modes.ChecksumOK(f) {
		return frame.DropBadChecksum
	}
	switch f.Info.TCPFlags & (frame.FlagSYN | frame.FlagACK | frame.FlagRST) {
	case frame.FlagSYN:
		return w.sendCookie(f, svc)
	case frame.FlagACK:
		return w.redeem(f, svc)
	}
	return w.notSchedulable(f, svc)
}

// sendCookie answers a SYN. Of its options it offers back what a cookie keeps and every
// server of the service has taken so far; not ECN, and no data or cookie of TCP Fast
// Open.
func (w *worker) sendCookie(f *frame.Frame, svc *service.Service) frame.Verdict {
	o := modes.OfferedBy(f)
	seq, _ := f.TCPSeq()
	s := modes.Segment{Ack: seq + 1, Flags: frame.FlagSYN | frame.FlagACK, Window: firstWindow,
		MSS: w.announcedMSS(f, svc), Scale: conntrack.NoScale, Echo: o.Stamp}
	s.SACK = o.SACK && !svc.Offer.Lacks(service.LacksSACK)
	s.Stamped = o.Stamped && !svc.Offer.Lacks(service.LacksStamps)
	if o.Scale != conntrack.NoScale && !svc.Offer.Lacks(service.LacksScale) {
		s.Scale = proxyScale
	} else {
		o.Scale = conntrack.NoScale
	}
	if s.Stamped {
		s.Stamp = w.stamp()
	}
	said := cookie.Options{MSS: o.MSS, Scale: o.Scale, SACK: s.SACK, Stamped: s.Stamped}
	s.Seq = w.fw.cookies.Make(&f.Flow, seq, said, &w.scratch)
	if w.rec != nil {
		w.rec.note("synproxy", "synproxy-cookie", "SYN answered with a cookie")
	}
	return answeredAs(frame.SYNCookie, w.answer(f, func(out *frame.Frame, buf []byte) bool { return s.Answer(out, buf, f) }))
}

// stamp returns a time stamp for a SYN-ACK, never 0: milliseconds since the start.
func (w *worker) stamp() uint32 { return uint32(w.clock.Milliseconds()) | 1<<31 }

// announcedMSS returns the MSS to announce to the sender of a SYN: what an MTU of 1500 or
// that of the interface carries, with room for the option that tells a FULLNAT server the
// client's address, and no more than a server of the service announces.
func (w *worker) announcedMSS(f *frame.Frame, svc *service.Service) uint16 {
	headers := 40
	if f.Is6() {
		headers = 60
	}
	mss := uint16(max(min(w.link.MTU, 1500)-headers, 128))
	return svc.Offer.MSS(mss - w.fw.addressRoom(svc.Servers[0], f.Is4()))
}

// addressRoom returns how much of a segment to a server the option with the client's
// address takes, in bytes.
func (fw *Forwarder) addressRoom(s *service.Server, is4 bool) uint16 {
	if fw.conf.TOA == 0 || !s.Method().NeedsLocal() {
		return 0
	}
	return modes.TOALen(is4)
}

// redeem handles a segment with ACK: it opens a connection if it brings back a cookie. A
// later one than the first, which was lost, is dropped: the client repeats the first.
func (w *worker) redeem(f *frame.Frame, svc *service.Service) frame.Verdict {
	h, o, r := w.readCookie(f)
	switch r {
	case cookie.Good:
		return w.openProxied(f, svc, h, o)
	case cookie.Later:
		return frame.DropEarly
	}
	if w.rec != nil {
		w.rec.note("synproxy", "synproxy-refused", "no cookie, or too old a one")
	}
	return answeredAs(frame.CookieRefused, w.notSchedulable(f, svc))
}

// readCookie returns what a segment with ACK says of the handshake before it.
func (w *worker) readCookie(f *frame.Frame) (h conntrack.Handshake, o cookie.Options, r cookie.Result) {
	seq, ack := f.TCPSeq()
	_, stamped := f.TCPTimestamp()
	o, r = w.fw.cookies.Check(&f.Flow, seq-1, ack-1, stamped, &w.scratch)
	h = conntrack.Handshake{Made: true, Cookie: ack - 1, Scale: o.Scale, SACK: o.SACK, Stamped: stamped, Stamp: f.TCPEcho()}
	return h, o, r
}

// openProxied schedules the connection of a segment that brought back a cookie, and
// sends a server the SYN that the client sent.
func (w *worker) openProxied(f *frame.Frame, svc *service.Service, h conntrack.Handshake, o cookie.Options) frame.Verdict {
	if w.rec != nil {
		w.rec.note("synproxy", "synproxy-opened", "a good cookie: SYN to a server in the client's name")
	}
	p := newOpening(f, svc.Key, h.Cookie)
	if !w.fw.openings.room(p) {
		return w.refuse(f, frame.DropNoMemory)
	}
	syn := &w.clientFrame
	s := modes.Segment{Seq: p.isn, Flags: frame.FlagSYN, Window: f.TCPWindow(), MSS: o.MSS, Scale: o.Scale, SACK: o.SACK}
	s.Stamp, s.Stamped = f.TCPTimestamp()
	if o.Scale != conntrack.NoScale {
		s.Window = uint16(min(uint32(s.Window)<<o.Scale, 65535)) // a SYN's is not scaled (RFC 7323 section 2.2)
	}
	if !w.makeRequest(syn, &s, &f.Flow) {
		return frame.DropNoMemory
	}
	w.shake = h
	c, v := w.schedule(syn, &f.Flow, svc)
	w.shake = conntrack.Handshake{}
	if v != frame.Continue {
		return w.refuse(f, v)
	}
	if w.rec != nil {
		w.rec.opened(c)
	}
	if !w.fw.openings.begin(w.fw.conns, c, p) {
		return frame.DropEarly // another worker was first
	}
	if v = w.forwardFirst(syn, c); v != frame.Forward && v != frame.Queued {
		w.reader.Remove(c, w.now)
		return w.refuse(f, v)
	}
	w.fw.openings.sent(w.fw.conns.Ref(c), p, syn, w.now)
	return frame.ProxyOpened
}

// refuse resets a client that has a connection by its own account, and returns v.
func (w *worker) refuse(f *frame.Frame, v frame.Verdict) frame.Verdict {
	w.answer(f, func(out *frame.Frame, buf []byte) bool { return modes.Reset(out, buf, f) })
	return v
}

// makeRequest makes a segment in the name of the client of a flow.
func (w *worker) makeRequest(out *frame.Frame, s *modes.Segment, flow *frame.Flow) bool {
	buf := w.arena.alloc(modes.MaxSegmentLen)
	*out = frame.Frame{}
	return buf != nil && s.Request(out, buf, flow) && w.parser.Parse(out) == frame.Continue
}

// early handles a packet of the client of a connection whose server has not answered.
// Data waits, as far as it follows what is there.
func (w *worker) early(f *frame.Frame, c *conntrack.Conn, h conntrack.Handshake) frame.Verdict {
	if f.Info.Proto != frame.ProtoTCP {
		return frame.DropEarly
	}
	_, ack := f.TCPSeq()
	switch flags := f.Info.TCPFlags & (frame.FlagSYN | frame.FlagACK | frame.FlagRST); {
	case flags&frame.FlagRST != 0:
		return w.abandon(f, c)
	case flags == frame.FlagACK && ack == h.Cookie+1:
		switch w.fw.openings.hold(w.fw.conns.Ref(c), f, w.account) {
		case heldIt:
			return frame.Queued
		case notKept:
			w.reader.Remove(c, w.now)
			return w.openConn(f)
		case notThere:
			if _, waits := w.fw.conns.Opening(c); !waits {
				return w.forwardRequest(f, c) // another worker has had the answer meanwhile
			}
		}
		return frame.DropEarly
	}
	return w.openAnew(f, c)
}

// openAnew handles a segment that belongs to no opening connection but perhaps begins
// another one of its client.
func (w *worker) openAnew(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	svc := w.services.Match(&f.Flow, w.conf.Mark(&f.Flow))
	if svc == nil || !w.proxies(f, svc) || !modes.ChecksumOK(f) {
		return frame.DropEarly
	}
	if f.Info.TCPFlags&(frame.FlagSYN|frame.FlagACK) == frame.FlagSYN {
		return w.sendCookie(f, svc)
	}
	h, o, r := w.readCookie(f)
	if r != cookie.Good || !w.reader.Remove(c, w.now) {
		return frame.DropEarly
	}
	return w.openProxied(f, svc, h, o)
}

// abandon ends a connection whose client has given up before the server answered. The
// server is told.
func (w *worker) abandon(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	seq, _ := f.TCPSeq()
	if !w.fw.openings.expects(w.fw.conns.Ref(c), seq) || !modes.ChecksumOK(f) {
		return frame.DropEarly
	}
	v := frame.DropServerGone
	if s := w.fw.Server(c.Server); s != nil {
		v = w.toServer(f, c, s)
	}
	w.reader.Remove(c, w.now)
	return v
}

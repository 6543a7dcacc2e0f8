package forwarder

import (
	"math/rand/v2"
	"net/netip"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/modes"
)

// bindLocal gives a FULLNAT connection a local address of the service and a port on it,
// beginning with the address after the one used last; where no port is free, that of a
// closed connection, which the server may still remember. A service without local
// addresses uses the host's own on the route to the server.
func (w *worker) bindLocal(c *conntrack.Conn, svc *service.Service, s *service.Server) (past conntrack.TimeWait, ok bool) {
	if len(svc.Local) == 0 {
		route, v := w.routes.to(w, s)
		if v != frame.Continue || !route.hop.Source.IsValid() {
			return past, false
		}
		return w.bindPort(c, route.hop.Source)
	}
	for range svc.Local {
		if past, ok = w.takePort(c, w.local(svc)); ok {
			return past, true
		}
	}
	for range svc.Local {
		if past, ok = w.bindPort(c, w.local(svc)); ok {
			return past, true
		}
	}
	return past, false
}

// local returns the next of the local addresses, which services and workers take in turn.
func (w *worker) local(svc *service.Service) netip.Addr {
	return svc.Local[w.fw.nextLocal.Add(1)%uint64(len(svc.Local))]
}

func (w *worker) takePort(c *conntrack.Conn, local netip.Addr) (past conntrack.TimeWait, ok bool) {
	c.Local = local.As16()
	c.LocalPort, past, ok = w.fw.locals.Allocate(conntrack.PortKeyOf(c))
	return past, ok
}

func (w *worker) bindPort(c *conntrack.Conn, local netip.Addr) (past conntrack.TimeWait, ok bool) {
	if past, ok = w.takePort(c, local); ok {
		return past, true
	}
	c.LocalPort, past, ok = w.fw.locals.Reuse(w.reader, conntrack.PortKeyOf(c), w.now)
	return past, ok
}

// replaceConn removes a connection whose client starts a new one.
func (w *worker) replaceConn(f *frame.Frame, c *conntrack.Conn) bool {
	if localTCP(f, c) {
		w.fw.locals.Vacate(c)
	}
	return w.reader.Remove(c, w.now)
}

// minSeqGap is the least distance between the old connection's last number and the first of
// a new one: what is still in flight of the old one's window lies between.
const minSeqGap = 1 << 17

// renumber returns how the numbers of the connection that f begins change, so that a
// server accepts it as a new one although it may have the old one in TIME_WAIT: the
// sequence number must rise, and so must a time stamp (RFC 6191; tcp_minisocks.c,
// tcp_timewait_state_process). Time stamps that do not are hidden from the server.
func renumber(f *frame.Frame, past conntrack.TimeWait) (by conntrack.Renumber) {
	if f.Info.Proto != frame.ProtoTCP || past == (conntrack.TimeWait{}) {
		return by
	}
	if seq, _ := f.TCPSeq(); int32(seq-past.RcvNext) <= 0 {
		by.SeqOffset = past.RcvNext + minSeqGap + rand.Uint32N(1<<30) - seq
	}
	if stamp, ok := f.TCPTimestamp(); ok && past.TSVal != 0 && int32(stamp-past.TSVal) < 0 {
		by.NoTimestamps = true
	}
	return by
}

// renumberRequest changes the numbers of a translated packet to the server.
func (w *worker) renumberRequest(f *frame.Frame, c *conntrack.Conn) {
	if f.Info.Proto != frame.ProtoTCP {
		return
	}
	by := w.fw.conns.Renumber(c)
	if by.SeqOffset != 0 {
		f.AddTCPSeq(by.SeqOffset, 0)
	}
	if by.NoTimestamps && f.Info.TCPFlags&frame.FlagSYN != 0 {
		f.ClearTCPTimestamp()
	}
}

// renumberReply changes back the numbers of a translated packet, or ICMP error,
// to the client.
func (w *worker) renumberReply(f *frame.Frame, c *conntrack.Conn) {
	w.towardsClient(f, c)
	shift := w.fw.conns.Renumber(c).SeqOffset
	switch {
	case shift == 0:
	case f.Info.Proto != frame.ProtoTCP:
		modes.Renumber(f, -shift)
	case f.Info.TCPFlags&frame.FlagACK != 0:
		f.AddTCPSeq(0, -shift)
	}
}

// observeEnding records for the local ports how a connection by FULLNAT ends. Of most segments
// only the server's acknowledgement matters.
func (w *worker) observeEnding(f *frame.Frame, c *conntrack.Conn, d conntrack.Direction) {
	seq, ack := f.TCPSeq()
	flags := f.Info.TCPFlags
	if d == conntrack.Reply && flags&(frame.FlagACK|frame.FlagRST) == frame.FlagACK {
		c.SetRcvNext(ack)
	}
	const turns = frame.FlagSYN | frame.FlagFIN | frame.FlagRST
	if flags&turns == 0 && c.State() == conntrack.TCPEstablished {
		return
	}
	if d == conntrack.Request && c.Has(conntrack.Renumbered) {
		seq += w.fw.conns.Renumber(c).SeqOffset
		by, _ := w.fw.conns.Distance(c)
		ack -= by.Seq
	}
	s := conntrack.Segment{Flags: flags, Seq: seq, Ack: ack, Len: uint32(len(payload(f)))}
	s.TSVal, _ = f.TCPTimestamp()
	w.fw.locals.Observe(c, &s, d)
}

// noLocalPort tells a client that there is no local port for its connection: TCP with a
// reset, which is not rate limited, others as when there is no server.
func (w *worker) noLocalPort(f *frame.Frame) {
	if f.Info.Proto == frame.ProtoTCP {
		w.answer(f, func(out *frame.Frame, buf []byte) bool { return modes.Reset(out, buf, f) })
		return
	}
	w.icmpUnreachable(f, modes.PortUnreachable, frame.DropNoLocalPort)
}

// localTCP reports whether a packet is TCP of a connection with a local port.
func localTCP(f *frame.Frame, c *conntrack.Conn) bool {
	return f.Info.Proto == frame.ProtoTCP && c.Method().NeedsLocal()
}

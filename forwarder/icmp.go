package forwarder

import (
	"net/netip"
	"time"

	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/modes"
)

// icmp handles an ICMP or ICMPv6 message: errors about connections, echo to an address
// only the director has.
func (w *worker) icmp(f *frame.Frame) frame.Verdict {
	if w.services.Len() == 0 {
		return w.noService(f)
	}
	if v := w.related(f); v != frame.Continue {
		return v
	}
	if v, ok := w.relay(f); ok {
		return v
	}
	if w.transitICMPError(f) {
		return w.forwardTransit(f)
	}
	if !w.conf.Owns(f.Flow.Dst16()) {
		return frame.Pass
	}
	if !modes.IsEcho(f) {
		return frame.Pass
	}
	return w.answer(f, func(out *frame.Frame, buf []byte) bool {
		return modes.EchoReply(out, buf, f, w.nextID16())
	})
}

// transitICMPError reports whether an ICMP error that is about no connection is in
// transit to a client that reached a real server directly: the guard takes it for one
// about a request, and keeps it from the host.
func (w *worker) transitICMPError(f *frame.Frame) bool {
	quoted, ok := modes.Embedded(f)
	if !ok || w.conf.Virtual(f.Flow.Dst16()) || w.conf.Owns(f.Flow.Dst16()) {
		return false
	}
	back := quoted.Reverse()
	return w.conf.Guarded(&back)
}

// discovers reports whether a packet is of neighbour discovery (RFC 4861 section
// 4), whose packets may come from no address at all.
func discovers(f *frame.Frame) bool {
	if f.Info.Proto != frame.ProtoICMPv6 || !f.Is6() || f.Info.Fragment {
		return false
	}
	typ := f.L4()[0]
	return typ >= 133 && typ <= 137
}

// icmpForVerdict answers a packet that a mode rejected because its hop limit is
// exceeded or it is larger than the path MTU.
func (w *worker) icmpForVerdict(f *frame.Frame, v frame.Verdict) frame.Verdict {
	switch v {
	case frame.DropTTL:
		return w.sendICMPError(f, v, func(out *frame.Frame, buf []byte) bool {
			return modes.TimeExceeded(out, buf, f, w.ownAddress(f), w.nextID16())
		})
	case frame.DropTooBig:
		return w.sendICMPError(f, v, func(out *frame.Frame, buf []byte) bool {
			return modes.TooBig(out, buf, f, w.ownAddress(f), w.nextID16())
		})
	}
	return v
}

// icmpUnreachable tells the sender that its packet cannot be delivered.
func (w *worker) icmpUnreachable(f *frame.Frame, code uint8, v frame.Verdict) frame.Verdict {
	return w.sendICMPError(f, v, func(out *frame.Frame, buf []byte) bool {
		return modes.Unreachable(out, buf, f, w.ownAddress(f), code, w.nextID16())
	})
}

func (w *worker) icmpNoServer(f *frame.Frame) frame.Verdict {
	return w.icmpUnreachable(f, modes.PortUnreachable, frame.DropNoServer)
}

func (w *worker) icmpHostUnreachable(f *frame.Frame) frame.Verdict {
	return w.icmpUnreachable(f, modes.HostUnreachable, frame.DropNoRoute)
}

// resetUnknown handles a packet to a service that belongs to no connection and may not
// open one: the host's stack, which IPVS leaves it to, would reset it (RFC 9293 section
// 3.10.7.1).
func (w *worker) resetUnknown(f *frame.Frame) frame.Verdict {
	if f.Info.Proto != frame.ProtoTCP || f.Info.TCPFlags&frame.FlagRST != 0 {
		return frame.DropState
	}
	return w.answer(f, func(out *frame.Frame, buf []byte) bool { return modes.Reset(out, buf, f) })
}

// reject answers a packet to an address that only the director has, on which
// nothing is served, as a host would.
func (w *worker) reject(f *frame.Frame) frame.Verdict {
	if !modes.ChecksumOK(f) {
		return frame.DropBadChecksum
	}
	switch f.Info.Proto {
	case frame.ProtoTCP:
		return w.resetUnknown(f)
	case frame.ProtoUDP:
		return w.icmpUnreachable(f, modes.PortUnreachable, frame.DropNoServer)
	}
	return w.icmpUnreachable(f, modes.ProtocolUnreachable, frame.DropNoServer)
}

// ownAddress returns the address a message about f comes from: over IPv4 the
// one it was for, if that is virtual or the host's, else that of the interface
// the sender is reached by (ip_vs_xmit.c sends with the route's source address).
func (w *worker) ownAddress(f *frame.Frame) netip.Addr {
	if dst := f.Flow.Dst(); f.Is4() && (w.conf.Virtual(f.Flow.Dst16()) || w.fw.neigh.LocalAddr(dst)) {
		return dst
	}
	src := f.Flow.Src16()
	hop, v := w.hops.lookup(w.fw.neigh, &src)
	if v != frame.Continue {
		return netip.Addr{}
	}
	return hop.Source
}

// sendICMPError answers f with an ICMP error if one may be sent now; v is the verdict if
// not.
func (w *worker) sendICMPError(f *frame.Frame, v frame.Verdict, build func(*frame.Frame, []byte) bool) frame.Verdict {
	if !w.icmpLimit.take(w.clock) {
		return frame.DropICMPRate
	}
	if a := w.answer(f, build); a != frame.DropUnsupported {
		return a
	}
	return v
}

// answer sends the message that build writes to the sender of f: by the route to it, as a host does
// (icmp.c, icmp_reply; ip_output.c, ip_send_unicast_reply), in fragments where it is
// too large.
func (w *worker) answer(f *frame.Frame, build func(*frame.Frame, []byte) bool) frame.Verdict {
	buf := w.arena.alloc(max(modes.AnswerLen, f.Len()+frame.Headroom))
	if buf == nil {
		return frame.DropNoMemory
	}
	out := &w.answerFrame
	*out = frame.Frame{}
	if !build(out, buf) {
		return frame.DropUnsupported
	}
	w.answerLen = out.L3Len()
	hop, v := w.returnHop(f)
	if v != frame.Continue {
		return v
	}
	if w.rec != nil {
		w.rec.answer = true
	}
	if v := w.emit(out, hop); v.IsDrop() {
		return v
	}
	return frame.Answered
}

// returnHop returns the next hop to the sender of f. What arrived on loopback is
// answered there, and what came from a link-local address on its link: to the MAC
// address it came from.
func (w *worker) returnHop(f *frame.Frame) (*neigh.Hop, frame.Verdict) {
	if !w.link.Loopback && !(f.Is6() && f.Flow.Src().IsLinkLocalUnicast()) {
		src := f.Flow.Src16()
		return w.hops.lookup(w.fw.neigh, &src)
	}
	e := f.Ethernet()
	w.answerHop = neigh.Hop{Link: w.link.Index, MTU: w.link.MTU, SrcMAC: [6]byte(e[:6]), DstMAC: [6]byte(e[6:12]),
		Resolved: true, Ethernet: w.link.Ethernet}
	return &w.answerHop, frame.Continue
}

// nextID returns an identification for a packet that the director builds.
func (w *worker) nextID() uint32 {
	w.id++
	return w.id
}

func (w *worker) nextID16() uint16 { return uint16(w.nextID()) }

// icmpRate and icmpBurst bound the ICMP errors a worker sends, as Linux bounds
// them for a host (net.ipv4.icmp_msgs_per_sec, icmp_msgs_burst).
const (
	icmpRate  = 1000 // a second
	icmpBurst = 1000
)

// bucket lets icmpRate messages a second through.
type bucket struct {
	tokens int64
	last   time.Duration
}

func (b *bucket) take(now time.Duration) bool {
	if b.last == 0 {
		b.tokens, b.last = icmpBurst, now
	}
	if n := int64((now - b.last) * icmpRate / time.Second); n > 0 {
		b.tokens = min(b.tokens+n, icmpBurst)
		b.last += time.Duration(n) * time.Second / icmpRate
	}
	if b.tokens == 0 {
		return false
	}
	b.tokens--
	return true
}

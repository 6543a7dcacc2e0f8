package forwarder

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/service"
	"uvs/sched"
)

// record collects what the stages decide about one packet. A worker that
// records has one, others have nil: a stage tells it something only behind a
// test for that, which costs nothing measurable.
type record struct {
	config.Trace
	began  time.Time
	before headers
	method sched.Method
	reply  bool
	known  bool // the connection, and so method and reply
	sent   bool
	answer bool // what is sent is the director's own
}

// trace is forward with a record. Packets to a multicast group that do not concern the
// director are omitted: they would crowd a trace of the first few packets.
func (w *worker) trace(f *frame.Frame, v frame.Verdict, found conntrack.Found) frame.Verdict {
	r := &record{began: time.Now(), before: headersOf(f)}
	r.Time, r.Link, r.Length, r.Packet = r.began, w.link.Name, f.Len(), packetWords(f)
	r.note("rx", "%s, %d B%s", r.Link, r.Length, super(f))
	neighbour := f.Info.EtherType == frame.EtherARP || v == frame.Continue && discovery(f)
	w.rec = r
	v = w.forward(f, v, found)
	w.rec = nil
	if v == frame.Pass && f.Ethernet()[0]&1 != 0 {
		return v
	}
	r.Verdict, r.Took = v.String(), uint64(time.Since(r.began))
	r.Next = r.next(v)
	w.fw.tracing.publish(r.Trace, neighbour)
	return v
}

func (r *record) note(stage, format string, args ...any) *config.Step {
	r.Steps = append(r.Steps, config.Step{
		Stage: stage, What: fmt.Sprintf(format, args...), At: uint64(time.Since(r.began)),
	})
	return &r.Steps[len(r.Steps)-1]
}

// found records the connection of the packet, if there is one.
func (r *record) found(c *conntrack.Conn, reply bool) {
	if c == nil {
		r.note("conn", "no entry")
		return
	}
	side := "from the client"
	if reply {
		side = "reply of the server"
	}
	r.bind(c, reply)
	r.note("conn", "%s %s → %s %s, %s", c.StateName(), c.ClientAddr(), c.RealAddr(), c.Method(), side)
}

// bind records the route of the packet.
func (r *record) bind(c *conntrack.Conn, reply bool) {
	r.method, r.reply, r.known = c.Method(), reply, true
}

func (r *record) opened(c *conntrack.Conn) {
	r.bind(c, false)
	r.note("conn", "new → %s %s", c.RealAddr(), c.Method())
}

// matched records the service.
func (r *record) matched(svc *service.Service, mark uint32) {
	switch {
	case svc == nil && mark != 0:
		r.note("service", "none for mark %d", mark)
	case svc == nil:
		r.note("service", "none")
	case svc.Mark != 0:
		r.note("service", "%s %s (mark)", svc.Key, svc.Sched.Name())
	default:
		r.note("service", "%s %s", svc.Key, svc.Sched.Name())
	}
}

// template records the client's template under persistence.
func (r *record) template(ct *conntrack.Conn) {
	if ct == nil {
		r.note("conn", "no template")
		return
	}
	r.note("conn", "template → %s", ct.RealAddr())
}

// pick returns where a scheduler can explain itself.
func (r *record) pick() *sched.Record {
	s := r.note("sched", "")
	s.Pick = &sched.Record{}
	return s.Pick
}

// queued records a next hop that is not yet resolved.
func (r *record) queued() { r.note("neigh", "asking for the MAC address") }

// emitted records a frame as it is sent.
func (r *record) emitted(f *frame.Frame, hop *neigh.Hop, links *linkSet) {
	l := links.byIndex(f.Egress)
	if l == nil {
		return
	}
	if r.sent {
		r.note("tx", "%s, one more piece, %d B", l.Name, f.Len())
		return
	}
	r.sent = true
	r.note("neigh", "%s", net.HardwareAddr(hop.DstMAC[:]))
	if !r.answer {
		r.note("rewrite", "").Changes = r.changes(f)
	}
	r.note("tx", "%s, %d B", l.Name, f.Len())
}

// next says what must happen elsewhere now.
func (r *record) next(v frame.Verdict) string {
	switch {
	case v == frame.Pass:
		return "the host's own stack has it"
	case v != frame.Forward || !r.known || r.reply:
		return ""
	case r.method.Direct():
		return "the server answers the client directly; this director will not see the reply"
	case r.method.Masquerades():
		return "the reply must come back through this director, which is the server's gateway"
	case r.method.NeedsLocal():
		return "the reply comes back to the local address"
	}
	return ""
}

// discovery reports whether a packet is one of neighbour discovery (RFC 4861
// section 4).
func discovery(f *frame.Frame) bool {
	const routerSolicitation, redirect = 133, 137
	if !f.Is6() || f.Info.Proto != frame.ProtoICMPv6 || f.Info.Fragment {
		return false
	}
	icmp := f.L4()
	return len(icmp) > 0 && icmp[0] >= routerSolicitation && icmp[0] <= redirect
}

// packetWords describes a packet in a few words.
func packetWords(f *frame.Frame) string {
	switch {
	case f.Info.EtherType == frame.EtherARP:
		return "arp"
	case !f.Is4() && !f.Is6():
		return fmt.Sprintf("ethertype %#04x", f.Info.EtherType)
	}
	text := f.Flow.String()
	if f.Info.Proto == frame.ProtoTCP {
		text += " " + flagNames(f.Info.TCPFlags)
	}
	if f.Info.Fragment {
		text += " fragment"
	}
	return text
}

func flagNames(flags uint8) string {
	var names []string
	for _, n := range []struct {
		bit  uint8
		name string
	}{{frame.FlagSYN, "SYN"}, {frame.FlagFIN, "FIN"}, {frame.FlagRST, "RST"}, {frame.FlagPSH, "PSH"}, {frame.FlagACK, "ACK"}} {
		if flags&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

func super(f *frame.Frame) string {
	if f.Offload.Super() {
		return ", several segments in one"
	}
	return ""
}

// headers are the fields of a packet that modes change.
type headers struct {
	dstMAC, srcMAC [6]byte
	src, dst       netip.Addr
	sport, dport   uint16
	ttl            uint8
	proto          uint8
}

// headersOf reads them from a frame that has been parsed. They are zero for anything
// but an IP packet, and for a fragment without ports.
func headersOf(f *frame.Frame) (h headers) {
	if f.Len() < frame.EthernetLen {
		return h
	}
	e := f.Ethernet()
	h.dstMAC, h.srcMAC = [6]byte(e[:6]), [6]byte(e[6:12])
	if !f.Is4() && !f.Is6() {
		return h
	}
	ip, l4 := f.L3(), 40
	if ip[0]>>4 == 4 {
		h.ttl, h.proto, l4 = ip[8], ip[9], int(ip[0]&15)*4
		h.src, h.dst = netip.AddrFrom4([4]byte(ip[12:16])), netip.AddrFrom4([4]byte(ip[16:20]))
	} else {
		h.ttl, h.proto = ip[7], ip[6]
		h.src, h.dst = netip.AddrFrom16([16]byte(ip[8:24])), netip.AddrFrom16([16]byte(ip[24:40]))
	}
	if f.Info.HasPorts && len(ip) >= l4+4 {
		h.sport, h.dport = uint16(ip[l4])<<8|uint16(ip[l4+1]), uint16(ip[l4+2])<<8|uint16(ip[l4+3])
	}
	return h
}

// changes compares the packet with what came in.
func (r *record) changes(f *frame.Frame) []config.Change {
	b, a := &r.before, headersOf(f)
	mac := func(m [6]byte) string { return net.HardwareAddr(m[:]).String() }
	all := []config.Change{
		{Field: "eth.src", Before: mac(b.srcMAC), After: mac(a.srcMAC)},
		{Field: "eth.dst", Before: mac(b.dstMAC), After: mac(a.dstMAC)},
	}
	if r.known && r.method.Encapsulates() {
		return append(all,
			config.Change{Field: "outer.src", After: a.src.String()},
			config.Change{Field: "outer.dst", After: a.dst.String()},
			config.Change{Field: "ip.dst", Before: b.dst.String(), After: b.dst.String(), Note: "so the server must own the VIP"})
	}
	all = append(all,
		config.Change{Field: "ip.ttl", Before: fmt.Sprint(b.ttl), After: fmt.Sprint(a.ttl)},
		config.Change{Field: "ip.src", Before: b.src.String(), After: a.src.String()},
		config.Change{Field: "ip.dst", Before: b.dst.String(), After: a.dst.String()},
		config.Change{Field: "sport", Before: fmt.Sprint(b.sport), After: fmt.Sprint(a.sport)},
		config.Change{Field: "dport", Before: fmt.Sprint(b.dport), After: fmt.Sprint(a.dport)})
	return r.traceHints(all)
}

// traceHints leaves of what did not change only what one should notice.
func (r *record) traceHints(all []config.Change) []config.Change {
	notes := map[string]string{}
	if r.known && r.method.Direct() && !r.method.Encapsulates() {
		notes["ip.dst"], notes["dport"] = "so the server must own the VIP, silently", "direct routing cannot map ports"
	}
	if r.known && r.method.Masquerades() && !r.reply {
		notes["ip.src"] = "so the server sees the client"
	}
	kept := all[:0]
	for _, c := range all {
		if c.Before == c.After {
			if c.Note = notes[c.Field]; c.Note == "" {
				continue
			}
		}
		kept = append(kept, c)
	}
	return kept
}

package forwarder

import (
	"fmt"
	"net"
	"slices"
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
	server sched.ID
	known  bool // the connection, and so method and reply
	sent   bool
	answer bool // what is sent is the director's own
	frames bool // a reader wants those that are sent
	dry    bool // nobody waits: look at all services
	flow   frame.Flow
	info   frame.Info
}

// trace is forward with a record, if a reader may want one. Packets to a multicast group
// that do not concern the director are omitted: they would crowd a trace of the first few
// packets.
func (w *worker) trace(f *frame.Frame, v frame.Verdict, found conntrack.Found) frame.Verdict {
	wanted, frames := w.fw.tracing.wants(w, f, v, &found)
	if !wanted {
		return w.forward(f, v, found)
	}
	neighbour := isNeighbours(f, v)
	r := w.newRecord(f, frames)
	w.rec = r
	v = w.forward(f, v, found)
	w.rec = nil
	if v == frame.Pass && f.Ethernet()[0]&1 != 0 {
		return v
	}
	r.end(w, v)
	w.fw.tracing.publish(r, v, neighbour, w.clock)
	return v
}

func (w *worker) newRecord(f *frame.Frame, frames bool) *record {
	r := &record{began: time.Now(), before: headersOf(f), frames: frames, flow: f.Flow, info: f.Info}
	r.Time, r.Link, r.Length, r.Packet = r.began, w.link.Name, f.Len(), f.Words()
	if frames {
		r.Frame = slices.Clone(f.Bytes())
	}
	s := r.note("rx", "rx", "%s, %d B%s", r.Link, r.Length, super(f))
	s.Fields = map[string]string{"interface": r.Link, "bytes": fmt.Sprint(r.Length)}
	if len(f.Bytes()) >= frame.EthernetLen {
		s.Fields["mac"] = net.HardwareAddr(f.Ethernet()[6:12]).String()
	}
	return r
}

// end completes the record.
func (r *record) end(w *worker, v frame.Verdict) {
	r.Verdict, r.Took = v.String(), uint64(time.Since(r.began))
	r.guarded(w, v)
	r.held(w)
	if r.Service == "" && r.server != 0 {
		if s := w.fw.Server(r.server); s != nil {
			r.Service = s.Key.Name()
		}
	}
	r.Next = r.next(v)
}

// held says of servers that a scheduler left out that a check holds them.
func (r *record) held(w *worker) {
	for i := range r.Steps {
		p := r.Steps[i].Pick
		if p == nil {
			continue
		}
		for j := range p.Candidates {
			if s := w.fw.Server(p.Candidates[j].Server); s != nil && s.Held() && p.Candidates[j].Skip != "" {
				p.Candidates[j].Skip = "held by a check"
			}
		}
	}
}

func (r *record) note(stage, code, format string, args ...any) *config.Step {
	r.Steps = append(r.Steps, config.Step{
		Stage: stage, Code: code, What: fmt.Sprintf(format, args...), At: uint64(time.Since(r.began)),
	})
	return &r.Steps[len(r.Steps)-1]
}

// refused records that the checks of the host's input path refuse the packet.
func (r *record) refused(v frame.Verdict) {
	r.note("input", "input-"+v.String(), "the checks of the host's input path: %s", v)
}

// found records the connection of the packet, if there is one.
func (r *record) found(c *conntrack.Conn, reply bool, now conntrack.Tick) {
	if c == nil {
		r.note("conn", "conn-none", "no entry")
		return
	}
	side := "from the client"
	if reply {
		side = "reply of the server"
	}
	r.bind(c, reply)
	left := c.Expires(now).Round(time.Second)
	s := r.note("conn", "conn-hit", "%s %s → %s %s, %s, %s left", c.StateName(), c.ClientAddr(), c.RealAddr(), c.Method(), side, left)
	s.Fields = connFields(c, left)
}

func connFields(c *conntrack.Conn, left time.Duration) map[string]string {
	return map[string]string{
		"state": c.StateName(), "client": c.ClientAddr().String(), "virtual": c.VirtualAddr().String(),
		"server": c.RealAddr().String(), "method": c.Method().Traits().Word, "left_s": fmt.Sprint(int(left.Seconds())),
		"packets": fmt.Sprint(c.Packets()),
	}
}

// bind records the route of the packet.
func (r *record) bind(c *conntrack.Conn, reply bool) {
	r.method, r.reply, r.known, r.server = c.Method(), reply, true, c.Server
	r.Client, r.Virtual, r.Server, r.Method = c.ClientAddr(), c.VirtualAddr(), c.RealAddr(), c.Method().Traits().Word
	r.Side = config.Request
	if reply {
		r.Side = config.Reply
	}
	if c.Method().NeedsLocal() {
		r.Local = c.LocalAddr()
	}
}

func (r *record) opened(c *conntrack.Conn) {
	r.bind(c, false)
	s := r.note("conn", "conn-new", "new → %s %s", c.RealAddr(), c.Method())
	s.Fields = map[string]string{"server": c.RealAddr().String(), "method": c.Method().Traits().Word}
	switch {
	case c.Has(conntrack.OnePacket):
		s.Code = "conn-once"
		s.Notes = append(s.Notes, "the service is a one-packet one: the connection ends with the packet")
	case c.Method().NeedsLocal():
		s.What += ", local end " + c.LocalAddr().String()
		s.Fields["local"] = c.LocalAddr().String()
	}
}

// template records the client's template under persistence.
func (r *record) template(ct *conntrack.Conn, now conntrack.Tick) {
	if ct == nil {
		r.note("conn", "template-none", "no template")
		return
	}
	left := ct.Expires(now).Round(time.Second)
	s := r.note("conn", "template-hit", "template → %s, %s left", ct.RealAddr(), left)
	s.Fields = map[string]string{"server": ct.RealAddr().String(), "left_s": fmt.Sprint(int(left.Seconds())), "connections": fmt.Sprint(ct.Controls())}
	s.Notes = append(s.Notes, "persistence: the scheduler is not asked")
}

// invalidated records a template that is of no use any longer.
func (r *record) invalidated(ct *conntrack.Conn, s *service.Server) {
	why := "its server is gone"
	if s != nil && s.Available() {
		why = "its server takes no new clients"
	}
	r.note("conn", "template-invalid", "template → %s: %s", ct.RealAddr(), why)
}

// pick returns where a scheduler can explain itself.
func (r *record) pick() *sched.Record {
	s := r.note("sched", "sched", "")
	s.Pick = &sched.Record{}
	return s.Pick
}

// queued records a frame whose next hop is not yet resolved.
func (r *record) queued(w *worker, f *frame.Frame, hop *neigh.Hop) {
	s := r.note("neigh", "neigh-asking", "asking for the MAC address")
	r.hop(w, s, hop)
	if r.sent {
		return
	}
	r.sent = true
	if l := w.links.byIndex(hop.Link); l != nil && r.frames {
		left := slices.Clone(f.Bytes())
		clear(left[:min(12, len(left))]) // it leaves with MAC addresses that are not known yet
		r.Sent = append(r.Sent, config.SentFrame{Link: l.Name, Frame: left})
	}
	r.became(w, f)
	r.size(f, hop)
	if r.answer {
		r.note("answer", "answer", "%s", r.Became).Fields = map[string]string{"packet": r.Became}
		return
	}
	changes := r.changes(f)
	r.note("rewrite", "rewrite", "").Changes = slices.DeleteFunc(changes, func(c config.Change) bool { return strings.HasPrefix(c.Field, "eth.") })
}

// emitted records a frame as it is sent.
func (r *record) emitted(w *worker, f *frame.Frame, hop *neigh.Hop) {
	l := w.links.byIndex(f.Egress)
	if l == nil {
		return
	}
	if r.frames {
		r.Sent = append(r.Sent, config.SentFrame{Link: l.Name, Frame: slices.Clone(f.Bytes())})
	}
	if r.sent {
		r.note("tx", "tx-piece", "%s, one more piece, %d B", l.Name, f.Len())
		return
	}
	r.sent = true
	r.became(w, f)
	r.hop(w, r.note("neigh", "neigh", "%s", net.HardwareAddr(hop.DstMAC[:])), hop)
	r.size(f, hop)
	if r.answer {
		r.note("answer", "answer", "%s", r.Became).Fields = map[string]string{"packet": r.Became}
	} else {
		r.note("rewrite", "rewrite", "").Changes = r.changes(f)
	}
	r.note("tx", "tx", "%s, %d B", l.Name, f.Len()).Fields = map[string]string{"interface": l.Name, "bytes": fmt.Sprint(f.Len())}
}

// became records the packet as it is sent.
func (r *record) became(w *worker, f *frame.Frame) {
	out := f.Copy()
	w.parser.Parse(&out)
	r.Became = out.Words()
}

// size compares the packet with the MTU.
func (r *record) size(f *frame.Frame, hop *neigh.Hop) {
	n, mtu := f.L3Len(), f.MTU
	if mtu == 0 {
		mtu = hop.MTU
	}
	s := r.note("mtu", "mtu-fits", "%d B of %d", n, mtu)
	s.Fields = map[string]string{"bytes": fmt.Sprint(n), "mtu": fmt.Sprint(mtu)}
	switch {
	case f.Offload.Super():
		s.Code, s.What = "mtu-super", fmt.Sprintf("%d B, segments of %d B of %d", n, f.SegmentLen(), mtu)
	case f.Info.Fragment:
		s.Code = "mtu-fragment"
		s.Notes = append(s.Notes, "it leaves in fragments")
	}
	if r.known && r.method.Encapsulates() && !r.answer {
		s.Notes = append(s.Notes, fmt.Sprintf("%d B of these are the outer header: larger packets are fragmented, or refused with an ICMP error if they may not be", n-r.before.length))
	}
}

// hop records where a next hop and its MAC address come from.
func (r *record) hop(w *worker, s *config.Step, hop *neigh.Hop) {
	s.Fields = map[string]string{}
	if hop.Resolved {
		s.Fields["mac"] = net.HardwareAddr(hop.DstMAC[:]).String()
	}
	if l := w.links.byIndex(hop.Link); l != nil {
		s.Fields["interface"] = l.Name
	}
	if hop.Gateway.IsValid() {
		s.Fields["gateway"] = hop.Gateway.String()
		s.Notes = append(s.Notes, "by the router "+hop.Gateway.String())
	}
	origin := w.fw.origin(hop)
	if origin == "" {
		return
	}
	s.Code = "neigh-" + string(origin)
	s.Fields["origin"] = string(origin)
	s.Notes = append(s.Notes, originWords[origin])
}

var originWords = map[neigh.Origin]string{
	neigh.OriginNone:      "it needs no MAC address",
	neigh.OriginKernel:    "the kernel's neighbour table has the MAC address",
	neigh.OriginPermanent: "an administrator's entry in the kernel's neighbour table has the MAC address",
	neigh.OriginAnswer:    "it answered the director's own request with its MAC address",
	neigh.OriginAsking:    "its MAC address is not known: the director asks, and the packet waits",
	neigh.OriginSilent:    "it has just not answered the director's requests",
}

// origin says where the MAC address of a next hop comes from, "" if nobody knows.
func (fw *Forwarder) origin(hop *neigh.Hop) neigh.Origin {
	if n, ok := fw.neigh.(interface{ Origin(*neigh.Hop) neigh.Origin }); ok {
		return n.Origin(hop)
	}
	return ""
}

// guarded records, as the step after the first, what keeps the packet from the host's own
// stack.
func (r *record) guarded(w *worker, v frame.Verdict) {
	dst := r.flow.Dst16()
	if r.flow == (frame.Flow{}) || w.fw.conf.Guard == nil && !w.conf.Owns(dst) {
		return
	}
	s := config.Step{Stage: "guard", Code: "guard-drops", At: r.Steps[0].At,
		What: fmt.Sprintf("the host has %s too: kept from its stack, which would answer besides", r.flow.Dst())}
	switch {
	case w.conf.Owns(dst):
		s.Code, s.What = "guard-owned", fmt.Sprintf("the host does not have %s: its stack takes no part", r.flow.Dst())
	case v == frame.Pass:
		s.Code, s.What = "guard-passes", "the host's stack gets it"
	case r.reply:
		s.Code, s.What = "guard-reply", "kept from the host's stack, which would forward the reply untranslated"
	}
	r.Steps = slices.Insert(r.Steps, 1, s)
}

// next says what must happen elsewhere now.
func (r *record) next(v frame.Verdict) string {
	switch {
	case v == frame.Pass:
		return "the host's own stack has it"
	case v != frame.Forward && v != frame.Queued || !r.known || r.reply:
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

// matched records the service, and why it was not another.
func (r *record) matched(w *worker, svc *service.Service, mark uint32) {
	s := r.note("service", "service-none", "none")
	s.Fields = map[string]string{}
	if mark != 0 {
		s.Fields["mark"] = fmt.Sprint(mark)
	}
	if svc != nil {
		r.Service = svc.Key.Name()
		s.What = svc.Key.String() + " " + svc.Sched.Name()
		s.Fields["service"], s.Fields["scheduler"] = svc.Key.Name(), svc.Sched.Name()
	}
	switch {
	case svc == nil && mark != 0:
		s.What = fmt.Sprintf("none for mark %d", mark)
	case svc == nil:
	case svc.Mark != 0:
		s.Code = "service-mark"
		s.What += " (mark)"
		s.Notes = append(s.Notes, "services by mark come before those by address")
	case svc.Port == 0:
		s.Code = "service-any-port"
		s.Notes = append(s.Notes, fmt.Sprintf("no service has the port %d: the one for all ports of the address takes it", r.flow.DstPort()))
	case svc.Port != r.flow.DstPort():
		s.Code = "service-ftp"
		s.Notes = append(s.Notes, "it may be a data connection of the FTP service")
	default:
		s.Code = "service-exact"
	}
	if r.dry {
		s.Notes = append(s.Notes, notMatched(w.fw.others, svc, &r.flow, mark)...)
	}
}

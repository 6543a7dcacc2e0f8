package neigh

import (
	"maps"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// inputs are the switches of an interface that say which packets the host takes
// in by it (net.ipv4.conf, ip-sysctl). Those for all interfaces are taken into
// account.
type inputs struct {
	rpFilter      int  // 0: the way back is not asked for, 1: strict, 2: loose (RFC 3704)
	acceptLocal   bool // packets may come from the host's own addresses
	routeLocalnet bool // 127.0.0.0/8 is an ordinary network
	sourceRoute   bool // packets may say which way they go
}

// inputsEvery is how often the switches are read: of most of them the kernel does
// not tell that they changed. rp_filter is one that it tells of.
const inputsEvery = 500 * time.Millisecond

// Admits reports whether the host's input path takes in a packet that came by a
// link: Continue, or the reason why not. The director's addresses count as the
// host's. It answers for IPv4 as the kernel's routes and rules do for packets
// without a firewall mark (fib_frontend.c, fib_validate_source; route.c,
// ip_route_input_slow). It may ask the kernel, which takes microseconds: a worker
// keeps the answer, which depends on the packet's addresses and its IP version
// only, for as long as Generation stays the same.
func (t *Table) Admits(f *frame.Frame, link int) frame.Verdict {
	src, dst := f.Flow.Src(), f.Flow.Dst()
	if f.Is6() {
		return admits6(src, dst)
	}
	v := t.view.Load()
	in := v.inputs[link]
	if verdict := in.addresses(src, dst); verdict != frame.Continue {
		return verdict
	}
	if t.owns(src) {
		return in.judge(origin{kind: unix.RTN_LOCAL}, true)
	}
	l := v.links[link]
	switch {
	case l == nil:
		return frame.Continue // it is leaving, or no link of this kernel
	case in.rpFilter == 0 && v.own4 != nil && l.Master == 0:
		return in.judge(origin{kind: v.own4.kind(src)}, true)
	case v.fib4.opaque, v.isVRF(l.Master):
		return t.askAdmits(src, dst, link)
	}
	return in.judge(v.origin(src, dst, link), l.has4())
}

// SourceRouted reports whether the host takes in packets by a link that say
// which way they go (net.ipv4.conf accept_source_route).
func (t *Table) SourceRouted(link int) bool { return t.view.Load().inputs[link].sourceRoute }

// addresses judges the ends of an IPv4 packet by themselves. Where loopback
// addresses are routed the host takes them in, but IPVS sends none on to a server
// (ip_vs_xmit.c, crosses_local_route_boundary).
func (in *inputs) addresses(src, dst netip.Addr) frame.Verdict {
	switch {
	case src.IsMulticast(), src.IsUnspecified(), src.IsLoopback(), src == limited:
		return frame.DropMartianSource
	case dst.IsUnspecified(), dst.IsLoopback() && !in.routeLocalnet:
		return frame.DropMartianDestination
	}
	return frame.Continue
}

// limited is the broadcast address of every network (RFC 919 section 7).
var limited = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// admits6 judges the ends of an IPv6 packet: there is no more than that
// (ip6_input.c, ip6_rcv_core). A Flow shows IPv4-mapped addresses as IPv4.
func admits6(src, dst netip.Addr) frame.Verdict {
	switch {
	case src.IsMulticast(), src.IsLoopback(), src.Is4():
		return frame.DropMartianSource
	case dst.IsLoopback(), dst.Is4():
		return frame.DropMartianDestination
	}
	return frame.Continue
}

// origin is what the routes say of a packet's source.
type origin struct {
	kind int  // of the route that leads there, unix.RTN_UNSPEC if none does
	back bool // it leads there by the interface the packet came by
}

// judge decides by the origin of a packet. addressed says that its interface has
// an address of its own; without one the kernel takes no other way for a way back.
func (in *inputs) judge(o origin, addressed bool) frame.Verdict {
	switch {
	case o.kind == unix.RTN_UNSPEC && in.rpFilter != 0:
		return frame.DropRPFilter
	case o.kind == unix.RTN_UNSPEC, o.kind == unix.RTN_UNICAST:
	case o.kind != unix.RTN_LOCAL || !in.acceptLocal:
		return frame.DropMartianSource
	}
	if in.rpFilter == 0 || o.back || in.rpFilter == 2 && addressed {
		return frame.Continue
	}
	return frame.DropRPFilter
}

// own4 are the host's IPv4 addresses and the broadcast addresses of its networks,
// as the table of local routes has them: what a source cannot be though the way
// back is not asked for. It spares the other tables.
type own4 struct {
	kinds map[[4]byte]int // of the routes to a single address
	nets  []*route        // others, longest prefix first
}

// newOwn4 returns nil if rules decide which packets see which table.
func newOwn4(f *fib) *own4 {
	if len(f.rules) == 0 || f.rules[0] != (rule{action: unix.FR_ACT_TO_TBL, table: unix.RT_TABLE_LOCAL, suppress: -1}) {
		return nil
	}
	for _, r := range f.rules[1:] {
		if r.action == unix.FR_ACT_TO_TBL && f.tables[r.table].hasLocal() {
			return nil
		}
	}
	o := &own4{kinds: map[[4]byte]int{}}
	local := f.tables[unix.RT_TABLE_LOCAL]
	if local == nil {
		return o
	}
	for _, n := range local.lengths {
		for dst, routes := range local.routes {
			if dst.Bits() != n {
				continue
			}
			if n == 32 {
				o.kinds[dst.Addr().As4()] = routes[0].kind
			} else {
				o.nets = append(o.nets, routes[0])
			}
		}
	}
	return o
}

// kind returns the kind of the route to a, unix.RTN_UNICAST if it is none of the
// host's.
func (o *own4) kind(a netip.Addr) int {
	if kind, ok := o.kinds[a.As4()]; ok {
		return kind
	}
	for _, r := range o.nets {
		if r.dst.Contains(a) {
			return r.kind
		}
	}
	return unix.RTN_UNICAST
}

// hasLocal reports whether a table has routes of the kinds that are usually in
// the table of local routes alone.
func (p *prefixes) hasLocal() bool {
	if p == nil {
		return false
	}
	for _, routes := range p.routes {
		for _, r := range routes {
			if r.kind == unix.RTN_LOCAL || r.kind == unix.RTN_BROADCAST || r.kind == unix.RTN_MULTICAST {
				return true
			}
		}
	}
	return false
}

// origin looks up the way back from dst to src, for a packet that came by a link.
func (v *view) origin(src, dst netip.Addr, link int) (o origin) {
	f := v.fib(src)
	f.walk(dst, src, func(r *rule) (final bool) {
		p := f.tables[r.table]
		if p == nil {
			return false
		}
		p.find(src, func(rt *route) bool {
			if rt.dst.Bits() <= r.suppress || rt.kind == unix.RTN_THROW {
				return true
			}
			switch rt.kind {
			case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT:
				final = true
				return true
			}
			if v.usable(rt) {
				o, final = origin{rt.kind, rt.uses(link)}, true
			}
			return final
		})
		return final
	})
	return o
}

// usable reports whether the kernel would use a route.
func (v *view) usable(r *route) bool {
	for i := range r.hops {
		if l := v.links[r.hops[i].link]; l != nil && l.Up && !r.hops[i].dead {
			return true
		}
	}
	return false
}

// uses reports whether one of a route's ways is by the link.
func (r *route) uses(link int) bool {
	for i := range r.hops {
		if r.hops[i].link == link {
			return true
		}
	}
	return false
}

// has4 reports whether the link has an IPv4 address.
func (l *link) has4() bool {
	for i := range l.addrs {
		if l.addrs[i].prefix.Addr().Is4() {
			return true
		}
	}
	return false
}

func (v *view) isVRF(index int) bool {
	l := v.links[index]
	return l != nil && l.Kind == "vrf"
}

// askAdmits has the kernel judge a packet, where it has rules or tables that only
// it understands.
func (t *Table) askAdmits(src, dst netip.Addr, link int) frame.Verdict {
	switch t.kernel.admits(src, dst, link) {
	case unix.EXDEV:
		return frame.DropRPFilter
	case unix.EINVAL:
		return frame.DropMartianSource
	}
	return frame.Continue
}

// followInputs reads the switches anew and returns when to do that again.
func (t *Table) followInputs() time.Time {
	next := t.now.Add(inputsEvery)
	in, err := t.kernel.inputs()
	old := t.view.Load()
	if err != nil || maps.Equal(in, old.inputs) {
		return next
	}
	v, s := *old, *t.state
	v.inputs, s.inputs = in, in
	t.mu.Lock()
	t.state = &s
	t.view.Store(&v)
	t.mu.Unlock()
	t.changed()
	return next
}

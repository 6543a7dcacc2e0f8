package neigh

import (
	"maps"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// inputs are the sysctls of an interface that decide which packets the host accepts on
// it (net.ipv4.conf, ip-sysctl). Those for all interfaces are taken into account.
type inputs struct {
	rpFilter      int  // 0: the reverse path is not checked, 1: strict, 2: loose (RFC 3704)
	acceptLocal   bool // packets may come from the host's own addresses
	routeLocalnet bool // 127.0.0.0/8 is an ordinary network
	sourceRoute   bool // packets may have a source route
}

// inputsEvery is how often the sysctls are read: the kernel does not report changes of
// most of them. It does report those of rp_filter.
const inputsEvery = 500 * time.Millisecond

// Admits reports whether the host's input path accepts a packet that arrived on a link:
// Continue, or the reason why not. The director's addresses count as the host's. For
// IPv4 it decides as the kernel's routes and rules do for packets without a firewall
// mark (fib_frontend.c, fib_validate_source; route.c, ip_route_input_slow). It may ask
// the kernel, which takes microseconds: a worker keeps the answer, which depends on the
// packet's addresses and its IP version only, for as long as Generation stays the same.
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
	if t.ownsAddr(src) {
		return in.judgeSource(reversePath{kind: unix.RTN_LOCAL}, true)
	}
	l := v.links[link]
	switch {
	case l == nil:
		return frame.Continue // it is outgoing, or not from a link of this kernel
	case in.rpFilter == 0 && v.own4 != nil && l.Master == 0:
		return in.judgeSource(reversePath{kind: v.own4.kind(src)}, true)
	case v.fib4.opaque, v.isVRF(l.Master):
		return t.askAdmits(src, dst, link)
	}
	return in.judgeSource(v.reversePath(src, dst, link), l.has4())
}

// SourceRouted reports whether the host accepts packets with a source route on a link
// (net.ipv4.conf accept_source_route).
func (t *Table) SourceRouted(link int) bool { return t.view.Load().inputs[link].sourceRoute }

// addresses judges the source and destination of an IPv4 packet by themselves. Where
// loopback addresses are routed the host accepts them, but IPVS forwards none to a
// server (ip_vs_xmit.c, crosses_local_route_boundary).
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

// admits6 judges the source and destination of an IPv6 packet: the kernel checks no
// more than that (ip6_input.c, ip6_rcv_core). A Flow shows IPv4-mapped addresses as
// IPv4.
func admits6(src, dst netip.Addr) frame.Verdict {
	switch {
	case src.IsMulticast(), src.IsLoopback(), src.Is4():
		return frame.DropMartianSource
	case dst.IsLoopback(), dst.Is4():
		return frame.DropMartianDestination
	}
	return frame.Continue
}

// reversePath is what the routes say about a packet's source.
type reversePath struct {
	kind int  // of the route to it, unix.RTN_UNSPEC if there is none
	back bool // that route uses the interface the packet arrived on
}

// judgeSource decides by the origin of a packet. addressed says that its interface has an
// address of its own; without one the kernel accepts no other reverse path.
func (in *inputs) judgeSource(o reversePath, addressed bool) frame.Verdict {
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

// own4 are the host's IPv4 addresses and the broadcast addresses of its networks, as
// the table of local routes has them: what a source cannot be even if the reverse path
// is not checked. It saves looking into the other tables.
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

// reversePath looks up the reverse path from dst to src, for a packet that arrived on a
// link.
func (v *view) reversePath(src, dst netip.Addr, link int) (o reversePath) {
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
				o, final = reversePath{rt.kind, rt.uses(link)}, true
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

// uses reports whether one of a route's next hops is on the link.
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

// askAdmits asks the kernel about a packet, where it has rules or tables that only it
// understands.
func (t *Table) askAdmits(src, dst netip.Addr, link int) frame.Verdict {
	switch t.kernel.admits(src, dst, link) {
	case unix.EXDEV:
		return frame.DropRPFilter
	case unix.EINVAL:
		return frame.DropMartianSource
	}
	return frame.Continue
}

// followInputs rereads the sysctls and returns when to do that again.
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

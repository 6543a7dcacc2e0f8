package neigh

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// rule is one line of the policy routing database (ip-rule(8)).
type rule struct {
	is6      bool
	priority uint32
	action   uint8 // unix.FR_ACT_TO_TBL, FR_ACT_BLACKHOLE, …
	table    uint32
	target   uint32       // priority to go on at, for FR_ACT_GOTO
	src      netip.Prefix // zero: any, as dst
	dst      netip.Prefix
	suppress int  // prefixes not longer than this are ignored, -1: none are
	never    bool // asks for a mark or an interface: not for our packets
	opaque   bool // only the kernel can tell whether it applies
}

// route walks the rules as fib_rules_lookup does for a packet with only a destination.
func (f *fib) route(a netip.Addr) (w *path) {
	f.walk(netip.Addr{}, a, func(r *rule) (final bool) {
		w, final = f.search(r, a)
		return final
	})
	return w
}

// walk calls use with the rules by which a packet from src to dst is looked up in a
// table, until it returns true. src is the zero Addr for a packet without one.
func (f *fib) walk(src, dst netip.Addr, use func(*rule) bool) {
	for i := 0; i < len(f.rules); i++ {
		r := &f.rules[i]
		if r.never || r.dst.IsValid() && !r.dst.Contains(dst) || r.src.IsValid() && !r.src.Contains(src) {
			continue
		}
		switch r.action {
		case unix.FR_ACT_TO_TBL:
			if use(r) {
				return
			}
		case unix.FR_ACT_GOTO:
			to, _ := slices.BinarySearchFunc(f.rules, r.target, func(r rule, p uint32) int {
				return int(int64(r.priority) - int64(p))
			})
			i = max(i, to-1)
		case unix.FR_ACT_NOP:
		default:
			return
		}
	}
}

// search looks a up in the table of a rule. It reports false if the search continues
// with the next rule.
func (f *fib) search(r *rule, a netip.Addr) (w *path, final bool) {
	p := f.tables[r.table]
	if p == nil {
		return nil, false
	}
	p.find(a, func(rt *route) bool {
		if rt.dst.Bits() <= r.suppress {
			return true
		}
		switch rt.kind {
		case unix.RTN_UNICAST, unix.RTN_LOCAL, unix.RTN_ANYCAST:
			w = rt.pick(a)
			final = w != nil
			return final
		case unix.RTN_THROW:
			return true
		}
		final = true // broadcast, multicast, blackhole, unreachable, prohibit
		return true
	})
	return w, final
}

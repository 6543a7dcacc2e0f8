package neigh

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// route is one route of the kernel, a line of one of its tables.
type route struct {
	table  uint32
	dst    netip.Prefix
	kind   int // unix.RTN_UNICAST, RTN_LOCAL, …
	metric int
	mtu    int        // of the route, 0 if it names none
	source netip.Addr // preferred, or the zero Addr
	hops   []nexthop
}

// nexthop is one of the next hops of a route.
type nexthop struct {
	link    int
	gateway netip.Addr // zero if the destination is on the link
	weight  int        // 1 or more
	dead    bool
	wrapped bool // by a tunnel of the route itself, which we do not build

	path *path
}

// pathFacts is all that two destinations with the same next hop share.
type pathFacts struct {
	link     int
	mac      [6]byte
	mtu      int
	gateway  netip.Addr
	source   netip.Addr
	local    bool
	ethernet bool
	direct   bool // no neighbour to resolve
}

// path is a next hop of some routes. There is one path for equal facts.
type path struct {
	pathFacts
	hop *Hop // set if direct
}

// fib looks up routes of one address family.
type fib struct {
	rules  []rule // by priority
	tables map[uint32]*prefixes
	opaque bool // a rule is of a kind only the kernel understands
}

// prefixes finds the routes of one table by longest match. A table has few
// different prefix lengths, so one map for each is fast and small.
type prefixes struct {
	lengths []int // longest first
	routes  map[netip.Prefix][]*route
}

// find calls use with the routes for a, longest prefix first and then by
// metric, until it returns true.
func (p *prefixes) find(a netip.Addr, use func(*route) bool) bool {
	for _, n := range p.lengths {
		prefix, err := a.Prefix(n)
		if err != nil {
			continue
		}
		for _, r := range p.routes[prefix] {
			if use(r) {
				return true
			}
		}
	}
	return false
}

func (p *prefixes) add(r *route) {
	if p.routes == nil {
		p.routes = make(map[netip.Prefix][]*route)
	}
	if i, ok := slices.BinarySearchFunc(p.lengths, r.dst.Bits(), func(a, b int) int { return b - a }); !ok {
		p.lengths = slices.Insert(p.lengths, i, r.dst.Bits())
	}
	same := p.routes[r.dst]
	i := 0
	for i < len(same) && same[i].metric <= r.metric {
		i++
	}
	p.routes[r.dst] = slices.Insert(same, i, r)
}

// buildRoutes fills the tables and gives each next hop its path.
func (v *view) buildRoutes(s *state, old *view) {
	v.fib4.tables, v.fib6.tables = make(map[uint32]*prefixes), make(map[uint32]*prefixes)
	for _, r := range s.routes {
		f := &v.fib6
		if r.dst.Addr().Is4() {
			f = &v.fib4
		}
		r.hops = slices.Clone(r.hops)
		for i := range r.hops {
			r.hops[i].path = v.path(&r, &r.hops[i], v.paths, old.paths)
		}
		if f.tables[r.table] == nil {
			f.tables[r.table] = &prefixes{}
		}
		f.tables[r.table].add(&r)
	}
	for _, r := range s.rules {
		f := &v.fib4
		if r.is6 {
			f = &v.fib6
		}
		f.rules = append(f.rules, r)
		f.opaque = f.opaque || r.opaque
	}
}

// path returns the path of a next hop, shared through paths and if possible reused from
// old, or nil if its link is not usable.
func (v *view) path(r *route, h *nexthop, paths, old map[pathFacts]*path) *path {
	local := r.kind == unix.RTN_LOCAL || r.kind == unix.RTN_ANYCAST
	l := v.links[h.link]
	if local {
		l = v.loopback // the route names the interface that has the address
	}
	if l == nil || h.dead || h.wrapped || !l.Up {
		return nil
	}
	w := pathFacts{
		link:     l.Index,
		mac:      l.MAC,
		mtu:      l.MTU,
		gateway:  h.gateway,
		source:   r.source,
		local:    local,
		ethernet: l.Ethernet || l.Loopback,
	}
	w.direct = w.local || l.Loopback || l.NoARP || !l.Ethernet
	if r.mtu > 0 && !w.local {
		w.mtu = min(w.mtu, r.mtu)
	}
	if !w.source.IsValid() {
		dst := h.gateway
		if !dst.IsValid() || dst.IsLinkLocalUnicast() || dst.Is4() != r.dst.Addr().Is4() {
			dst = r.dst.Addr()
		}
		w.source = v.source(l, dst)
	}
	return intern(w, paths, old)
}

func intern(facts pathFacts, paths, old map[pathFacts]*path) *path {
	if w := paths[facts]; w != nil {
		return w
	}
	w := old[facts]
	if w == nil {
		w = &path{pathFacts: facts}
		if facts.direct {
			w.hop = w.newHop(nil)
		}
	}
	paths[facts] = w
	return w
}

// route returns the path to a, or nil if there is none. Without opaque rules this is
// what the kernel would choose for a packet of its own.
func (v *view) route(a netip.Addr) *path {
	return v.fib(a).route(a)
}

// fib returns the routes of an address's family.
func (v *view) fib(a netip.Addr) *fib {
	if a.Is4() {
		return &v.fib4
	}
	return &v.fib6
}

// pick chooses among the next hops of a route by weight. The choice depends on the
// destination alone, so all packets of a flow take one path.
func (r *route) pick(a netip.Addr) *path {
	if len(r.hops) == 1 {
		return r.hops[0].path
	}
	total := 0
	for i := range r.hops {
		if r.hops[i].path != nil {
			total += r.hops[i].weight
		}
	}
	if total == 0 {
		return nil
	}
	n := int(spread(a) % uint32(total))
	for i := range r.hops {
		if r.hops[i].path == nil {
			continue
		}
		if n -= r.hops[i].weight; n < 0 {
			return r.hops[i].path
		}
	}
	return nil
}

// spread hashes an address (FNV-1a, with a final mix of the high bits).
func spread(a netip.Addr) uint32 {
	h := uint32(2166136261)
	for _, c := range a.As16() {
		h = (h ^ uint32(c)) * 16777619
	}
	return h ^ h>>15
}

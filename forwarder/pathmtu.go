package forwarder

import (
	"sync/atomic"

	"uvs/conntrack"
	"uvs/sched"
)

// pathMTU is the MTU of the way to a real server as routers told it, kept as
// long as Linux keeps one (net.ipv4.route.mtu_expires). Its methods are safe for
// concurrent use.
type pathMTU struct {
	word atomic.Uint64 // tick it was learned at, MTU; 0: nothing was
}

const (
	pathMTULife  = 10 * 60 * conntrack.TicksPerSecond
	pathMTULeast = 552 // net.ipv4.route.min_pmtu
)

// learn notes an MTU that a router reported, unless a smaller one is known.
func (p *pathMTU) learn(mtu int, now conntrack.Tick) {
	mtu = max(mtu, pathMTULeast)
	if old := p.at(now); old == 0 || mtu <= old {
		p.word.Store(uint64(now)<<32 | uint64(mtu))
	}
}

// at returns the MTU known at tick now, 0 if none is.
func (p *pathMTU) at(now conntrack.Tick) int {
	word := p.word.Load()
	if word == 0 || now > conntrack.Tick(word>>32)+pathMTULife {
		return 0
	}
	return int(uint32(word))
}

// mtu returns the largest packet, outer headers included, that the way carries
// to a server by a method. Only tunnels end here, so only for them routers tell
// the director, and not the client or the server, what is too large.
func (way *serverWay) mtu(m sched.Method, s *Server, now conntrack.Tick) int {
	if m != sched.Tunnel {
		return way.hop.MTU
	}
	if p := s.path.at(now); p != 0 {
		return min(p, way.hop.MTU)
	}
	return way.hop.MTU
}

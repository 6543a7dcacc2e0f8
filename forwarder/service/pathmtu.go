package service

import (
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/modes"
)

// PathMTU is the path MTU to a server by TUN or FULLNAT as routers reported it (RFC
// 1191, RFC 8201): the MTU in the low 16 bits, above them the tick at which it expires,
// or 0 for none. It is safe for concurrent use.
type PathMTU struct{ v atomic.Uint64 }

const (
	// pathLife is how long a path MTU is valid (net.ipv4.route.mtu_expires).
	pathLife = 600 * conntrack.TicksPerSecond
	// minPath is the least path MTU over IPv4 that is believed, against forged
	// messages (net.ipv4.route.min_pmtu); minPath6 is IPv6's least MTU.
	minPath  = 552
	minPath6 = 1280
)

// Get returns the path MTU in bytes, 0 if none is known.
func (p *PathMTU) Get(now conntrack.Tick) int {
	v := p.v.Load()
	if v == 0 || int32(conntrack.Tick(v>>16)-now) <= 0 {
		return 0
	}
	return int(v & 0xffff)
}

// Learn records the path MTU that an ICMP error reports, if it reports one.
func (p *PathMTU) Learn(f *frame.Frame, now conntrack.Tick) {
	mtu, ok := modes.PathMTU(f)
	if !ok {
		return
	}
	least := minPath
	if f.Is6() {
		least = minPath6
	}
	p.v.Store(uint64(now+pathLife)<<16 | uint64(max(mtu, least)))
}

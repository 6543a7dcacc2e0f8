package conntrack

import (
	"encoding/binary"
	"slices"
)

// ports gives the connections by FULLNAT their local ports. Of two with the same
// port, the one is not kept that had to give it to another, or comes later.
func (ad *adopter) ports() {
	p := ad.Ports
	if p == nil || !slices.ContainsFunc(ad.parts, func(p part) bool { return p.local }) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ad.pools = make([]lastPool, lastPools)
	var given []uint32
	var over []uint64
	for slot := uint32(1); slot <= ad.used; slot++ {
		if ad.t.due[slot] == 0 || !ad.t.conns[slot].takesPort() {
			continue
		}
		if c := &ad.t.conns[slot]; c.hasEnding() && ad.t.endings[slot].portState == portGiven {
			given = append(given, slot)
		} else {
			over = ad.bind(slot, over)
		}
	}
	for _, slot := range given {
		over = ad.bind(slot, over)
	}
	slices.Sort(over)
	for _, key := range over {
		p.append(Ref(key))
	}
	for _, pool := range p.pools {
		pool.resume()
	}
}

// bind takes a connection's port from its pool, or drops the connection. If the
// connection is over, it is added to over, by the time of its last packet; those
// that were reset come first.
func (ad *adopter) bind(slot uint32, over []uint64) []uint64 {
	c := &ad.t.conns[slot]
	if !ad.take(c) {
		ad.drop(slot)
		return over
	}
	if !c.hasEnding() {
		return over
	}
	e := &ad.t.endings[slot]
	e.prev, e.next, e.portState = 0, 0, portHeld
	switch {
	case e.has(rstAccepted):
		return append(over, uint64(slot))
	case e.has(bothAcked):
		return append(over, uint64(c.seen)<<32|uint64(slot))
	}
	return over
}

// take marks the port of a connection. It reports false if the port is in use. A
// port outside the range is nobody's.
func (ad *adopter) take(c *Conn) bool {
	p := ad.Ports
	if c.LocalPort < p.low || c.LocalPort > p.high {
		return true
	}
	pool := ad.pool(c)
	if pool.used(c.LocalPort) {
		return false
	}
	pool.mark(c.LocalPort)
	pool.own = pool.own || !c.Has(Synced)
	return true
}

// lastPool is the pool that a connection with one of some pairs of server and local address
// was in last.
type lastPool struct {
	key  PortKey
	pool *portPool
}

// lastPools is how many are remembered. Servers have a pool for each local address, so there
// may be some hundred in turn.
const lastPools = 1 << 12

// pool returns the pool of a connection. Most are found without the map, which
// would take a third of an adoption's time.
func (ad *adopter) pool(c *Conn) *portPool {
	at := uint32(c.Server)*0x9e3779b1 ^ binary.NativeEndian.Uint32(c.Local[12:])*0x85ebca6b ^ uint32(c.RealPort)*0xc2b2ae35
	last, key := &ad.pools[at>>20%lastPools], PortKeyOf(c)
	if last.pool == nil || last.key != key {
		*last = lastPool{key, ad.Ports.pool(key)}
	}
	return last.pool
}

// append puts an adopted connection at the end of the list of those that are over.
func (p *Ports) append(r Ref) {
	c := p.table.At(r)
	pool := p.pools[PortKeyOf(c)]
	if pool == nil || c.LocalPort < p.low || c.LocalPort > p.high {
		return
	}
	p.insert(pool, c, p.table.ending(c), pool.last, 0)
}

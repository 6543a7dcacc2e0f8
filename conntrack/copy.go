package conntrack

import (
	"hash/maphash"
	"maps"
	"sync/atomic"
)

// A copy of a table has some of its connections, to find out what would become of a packet
// without changing anything. It has the key of the other, and room for as many more
// connections as that one, up to copyRoom.

const copyRoom = 64

// CopyFor returns an empty table for copies of n connections of t. Close gives its memory
// back. gone is as in Config.
func (t *Table) CopyFor(n int, gone func(*Conn)) (*Table, error) {
	free := min(max(0, t.Capacity()-t.Len()), copyRoom)
	c, err := New(Config{Capacity: max(1, n+free), Seed: t.seed, Gone: gone})
	if err != nil {
		return nil, err
	}
	c.head.Key = t.head.Key
	c.slots.capacity = uint32(n + free) // also 0
	return c, nil
}

// Copy adds a copy of a connection of another table, as it is now: state, counts, and how
// many connections depend on it. It depends on control. ports are those of the other
// table, whose lock also guards what the table knows about its end; callers hold what
// guards Notes. It returns nil if there is no room, or if the connection has ended.
func (r *Reader) Copy(from *Table, ports *Ports, c *Conn, control Ref) *Conn {
	t := r.t
	slot := r.allocSlot()
	if slot == 0 {
		return nil
	}
	n := Conn{
		ClientPort: c.ClientPort, VirtualPort: c.VirtualPort, RealPort: c.RealPort, LocalPort: c.LocalPort,
		Client: c.Client, Virtual: c.Virtual, Real: c.Real, Local: c.Local, Server: c.Server, Control: control,
		status:   atomic.LoadUint32(&c.status),
		seen:     atomic.LoadUint32(&c.seen),
		timeout:  atomic.LoadUint32(&c.timeout),
		packets:  atomic.LoadUint32(&c.packets),
		rcvNext:  atomic.LoadUint32(&c.rcvNext),
		controls: uint32(c.Controls()),
	}
	if n.Has(dead) || n.usesEnding() && !t.mem.holdsEnding(slot) {
		r.returnSlot(slot)
		return nil
	}
	if n.usesEnding() {
		ports.mu.Lock()
		t.endings[slot] = from.ending(c).copy()
		ports.mu.Unlock()
	}
	t.fill(slot, &n)
	f := n.RequestFlow()
	if t.link(slot, &n, t.hash(&f, n.tag()), Tick(n.seen)) != nil {
		r.returnSlot(slot)
		return nil
	}
	if n.Has(NoClientPort) {
		t.expected.Add(1)
	}
	return &t.conns[slot]
}

// copy returns a copy that is on no list.
func (e *ending) copy() ending {
	return ending{
		portState:   e.portState,
		marks:       atomic.LoadUint32(&e.marks),
		fin:         [2]uint32{atomic.LoadUint32(&e.fin[0]), atomic.LoadUint32(&e.fin[1])},
		tsval:       atomic.LoadUint32(&e.tsval),
		seqOffset:   e.seqOffset,
		cookie:      e.cookie,
		stamp:       e.stamp,
		serverSeq:   atomic.LoadUint32(&e.serverSeq),
		serverStamp: atomic.LoadUint32(&e.serverStamp),
		handshake:   atomic.LoadUint32(&e.handshake),
	}
}

// CopyFor returns local ports for a copy of the table, which allocate the same ports as
// these would. A pool is copied when it is first needed, and with it the connection whose
// port would be reused first. r belongs to the copy.
func (p *Ports) CopyFor(r *Reader) *Ports {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &Ports{
		table: r.t, low: p.low, high: p.high, outside: p.outside, pools: map[PortKey]*portPool{},
		seed: p.seed, made: p.made, from: p, reader: r,
	}
}

// known returns the pool of k, nil if there is none.
func (p *Ports) known(k PortKey) *portPool {
	if pool := p.pools[k]; pool != nil || p.from == nil {
		return pool
	}
	return p.copyPool(k)
}

func (p *Ports) copyPool(k PortKey) *portPool {
	src, oldest := p.from.copyOf(k)
	if src == nil {
		return nil
	}
	src.all = p
	if src.idle {
		p.idle++
	}
	p.pools[k] = src
	if src.taken == p.Size() && oldest != nil {
		p.copyOldest(src, oldest)
	}
	return src
}

// copyOf returns a copy of a pool without its list, and the first connection of that.
func (p *Ports) copyOf(k PortKey) (*portPool, *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pools[k]
	if pool == nil {
		return nil, nil
	}
	c, oldest := *pool, (*Conn)(nil)
	if pool.first != 0 {
		oldest = p.table.At(pool.first)
	}
	c.first, c.last, c.over = 0, 0, 0
	c.timeWaits = maps.Clone(pool.timeWaits)
	if pool.many != nil {
		bits := *pool.many
		c.many = &bits
	}
	return &c, oldest
}

// copyOldest copies the connection whose port would be reused, unless it is in the copy
// already, and lists it.
func (p *Ports) copyOldest(pool *portPool, oldest *Conn) {
	f := oldest.RequestFlow()
	c, reply := p.reader.Lookup(&f)
	if c == nil || reply {
		c = p.reader.Copy(p.from.table, p.from, oldest, 0)
	}
	if c == nil {
		return
	}
	e := p.table.ending(c)
	if e.portState == portListed {
		e.portState = portHeld
		p.insert(pool, c, e, 0, pool.first)
	}
}

// firstOf returns where a new pool begins: anywhere, but the same for a copy.
func (p *Ports) firstOf(k PortKey) uint16 {
	p.made++
	return p.low + uint16(maphash.Comparable(p.seed, startOf{k, p.made})%uint64(p.Size()))
}

// startOf is what the start of a pool follows from.
type startOf struct {
	pool PortKey
	n    uint64 // pools so far
}

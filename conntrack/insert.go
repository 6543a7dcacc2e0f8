package conntrack

import "sync/atomic"

// Insert adds a copy of c to the table and returns the copy. If the table has a
// connection with the same request flow already, it returns that one and false,
// unless c has NoClientPort: of those, lookups find the newest. It returns nil if
// the table is full. c's Control, if any, counts one more dependent connection.
//
// A connection without a timeout of its own gets the 3 s that IPVS gives one
// before its first state; Advance for the packet that opened it comes next.
func (r *Reader) Insert(c *Conn, now Tick) (kept *Conn, inserted bool) {
	return r.InsertRenumbered(c, Renumber{}, now)
}

// InsertRenumbered is Insert for a connection with a local port from Reuse, or one that
// a SYN proxy began.
func (r *Reader) InsertRenumbered(c *Conn, by Renumber, now Tick) (kept *Conn, inserted bool) {
	t := r.t
	f := c.RequestFlow()
	h := t.hash(&f, c.tag())
	slot := r.allocSlot()
	if slot == 0 {
		if ref := t.find(&f, h, c.tag()); ref != 0 {
			return &t.conns[ref>>1], false
		}
		return nil, false
	}
	n := *c
	n.link, n.controls, n.packets, n.seen = [2]uint32{}, 0, 0, uint32(now)
	if n.timeout == 0 {
		n.timeout = freshTimeout
	}
	if !t.beginEnding(slot, &n, by) {
		r.returnSlot(slot)
		return nil, false
	}
	if n.Control != 0 && !t.conns[n.Control].ref() {
		n.Control = 0
	}
	t.fill(slot, &n)
	if old := t.link(slot, &n, h, now); old != nil {
		t.unref(n.Control)
		r.returnSlot(slot)
		return old, false
	}
	if n.Has(NoClientPort) {
		t.expected.Add(1)
	}
	return &t.conns[slot], true
}

// beginEnding clears what the slot's ending says about its previous connection. It
// reports false if there is no memory for endings.
func (t *Table) beginEnding(slot uint32, c *Conn, by Renumber) bool {
	if by != (Renumber{}) {
		c.SetFlags(Renumbered)
	}
	if !c.usesEnding() {
		return true
	}
	if !t.mem.holdsEnding(slot) {
		return false
	}
	e, first := &t.endings[slot], ending{seqOffset: by.SeqOffset}
	if by.NoTimestamps {
		first.marks = noTimestamps
	}
	first.begin(&by.Handshake)
	if *e != first {
		*e = first
	}
	return true
}

// fill writes a connection into a free slot, except for its status, and its
// checksum, which only shared memory needs. The slot stays free until the status is
// there, for whoever adopts the table if this process ends meanwhile.
func (t *Table) fill(slot uint32, c *Conn) {
	if t.mem.sums.shared {
		t.sums[slot] = c.sum(&t.endings[slot])
	}
	status := c.status
	c.status = 0
	t.conns[slot] = *c
	c.status = status
}

// link makes a filled slot the connection c: it links it under its request flow
// and, if replies come back through the director, under theirs. If another
// connection has the request flow, it returns that one and links nothing.
func (t *Table) link(slot uint32, c *Conn, h uint64, now Tick) *Conn {
	flow := c.RequestFlow()
	back := h
	if c.Translated() {
		f := c.ReplyFlow()
		back = t.hash(&f, nil)
	}
	t.lock(h, back)
	defer t.unlock(h, back)
	s := t.shardOf(h)
	if !c.Has(NoClientPort) {
		if old := t.walk(t.first(h, s), &flow, c.tag()); old != 0 {
			return &t.conns[old>>1]
		}
	}
	atomic.StoreUint32(&t.conns[slot].status, c.status)
	t.arm(slot, now+Tick(c.timeout))
	t.push(s, h, slot<<1|request)
	s.conns.Add(1)
	if c.Translated() {
		t.push(t.shardOf(back), back, slot<<1|reply)
	}
	return nil
}

// lock locks the shards of two hashes, the lower one first so that no two
// goroutines wait for each other.
func (t *Table) lock(a, b uint64) {
	i, j := shardID(a), shardID(b)
	t.shards[min(i, j)].mu.Lock()
	if i != j {
		t.shards[max(i, j)].mu.Lock()
	}
}

func (t *Table) unlock(a, b uint64) {
	i, j := shardID(a), shardID(b)
	t.shards[i].mu.Unlock()
	if i != j {
		t.shards[j].mu.Unlock()
	}
}

// Remove takes a connection out of the table at once, unless others depend on it:
// then it gets another 60 s instead (ip_vs_conn.c, ip_vs_conn_expire) and Remove
// reports false, as for a connection that has left already. Gone is called before
// Remove returns.
func (r *Reader) Remove(c *Conn, now Tick) bool { return r.t.remove(r.t.Ref(c), now) }

func (t *Table) remove(slot Ref, now Tick) bool {
	c := &t.conns[slot]
	if !c.close() {
		if c.Controls() > 0 {
			t.rearm(slot, now, rearmTimeout)
		}
		return false
	}
	t.detach(uint32(slot), true)
	return true
}

// detach unlinks a closed connection, calls Gone if tell is set, and retires the
// slot.
func (t *Table) detach(slot uint32, tell bool) {
	c := &t.conns[slot]
	atomic.OrUint32(&c.status, uint32(dead)<<flagShift)
	t.unlink(slot<<1|request, true)
	if c.Translated() {
		t.unlink(slot<<1|reply, false)
	}
	if c.Has(NoClientPort) {
		t.expected.Add(-1)
	}
	t.unref(c.Control)
	if tell && t.gone != nil {
		t.gone(c)
	}
	t.retire(slot)
}

func (t *Table) unlink(ref uint32, counts bool) {
	h := t.hashOf(ref)
	s := t.shardOf(h)
	s.mu.Lock()
	t.pull(s, h, ref)
	s.mu.Unlock()
	if counts {
		s.conns.Add(-1)
	}
}

// closed in Conn.controls says that the connection is ending: nothing may come to
// depend on it any more, and the goroutine that wrote it removes the connection.
const closed = ^uint32(0)

// close claims the connection for its end. It fails if others depend on it or
// another goroutine has claimed it.
func (c *Conn) close() bool { return atomic.CompareAndSwapUint32(&c.controls, 0, closed) }

// ref counts one more dependent connection, unless c has been closed.
func (c *Conn) ref() bool {
	for {
		n := atomic.LoadUint32(&c.controls)
		if n == closed {
			return false
		}
		if atomic.CompareAndSwapUint32(&c.controls, n, n+1) {
			return true
		}
	}
}

// unref undoes ref.
func (t *Table) unref(r Ref) {
	if r != 0 {
		atomic.AddUint32(&t.conns[r].controls, ^uint32(0))
	}
}

package sched

import (
	"maps"
	"slices"
	"time"

	"uvs/forwarder/frame"
)

// Copier is a Scheduler that can be copied with all its state, to find out what it would
// pick without moving its cursor. All schedulers of this package are Copiers.
type Copier interface {
	// Copy returns a scheduler that picks for c.Flow as this one would now. The two share
	// nothing that changes.
	Copy(c Copying) Scheduler
}

// Copying is what a copy of a scheduler is made with.
type Copying struct {
	// Server returns the copy of a server, the same at each call. It is asked for servers
	// that were removed, too.
	Server func(*RealServer) *RealServer
	// Flow is what the copy will be asked about. Of a large cache of lblc and lblcr only
	// what concerns its destination is copied.
	Flow *frame.Flow
	// Clock is that of the copy.
	Clock func() time.Duration
}

// Copy returns a server with the same settings and counts.
func (s *RealServer) Copy() *RealServer {
	c := &RealServer{ID: s.ID, Addr: s.Addr}
	c.weight.Store(s.weight.Load())
	c.lastWeight.Store(s.lastWeight.Load())
	c.upper.Store(s.upper.Load())
	c.lower.Store(s.lower.Load())
	c.active.Store(s.active.Load())
	c.inactive.Store(s.inactive.Load())
	c.persistent.Store(s.persistent.Load())
	c.overloaded.Store(s.overloaded.Load())
	c.edits.Store(s.edits.Load())
	return c
}

func (l *list) copy(c *Copying) list {
	n := list{
		at:    make([]*RealServer, len(l.at), cap(l.at)),
		slots: make(map[*RealServer]int, len(l.slots)),
		edits: make([]uint32, len(l.edits), cap(l.edits)),
	}
	copy(n.edits, l.edits)
	for i, s := range l.at {
		if s != nil {
			n.at[i] = c.Server(s)
			n.slots[n.at[i]] = i
		}
	}
	return n
}

func (t *tree[N]) copy() tree[N] { return tree[N]{slices.Clone(t.nodes)} }

// Copy implements Copier.
func (r *rr) Copy(c Copying) Scheduler {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := newRR()
	n.list, n.tree, n.cur = r.list.copy(&c), r.tree.copy(), r.cur
	return n
}

// Copy implements Copier.
func (w *wrr) Copy(c Copying) Scheduler {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := newWRR()
	n.list, n.tree, n.cur = w.list.copy(&c), w.tree.copy(), w.cur
	n.required, n.top, n.step = w.required, w.top, w.step
	return n
}

// Copy implements Copier.
func (l *least) Copy(c Copying) Scheduler {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := newLeast(l.measure)
	n.list, n.tree = l.list.copy(&c), l.tree.copy()
	return n
}

// Copy implements Copier.
func (t *twos) Copy(c Copying) Scheduler {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := newTwos(0)
	*n.source = *t.source
	n.list, n.tree = t.list.copy(&c), t.tree.copy()
	return n
}

// copyTo copies the buckets.
func (b *buckets) copyTo(n *buckets, c *Copying) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n.list = b.list.copy(c)
	t := b.table.Load()
	if t == nil {
		return
	}
	table := new([bucketCount]*RealServer)
	for i, s := range t {
		if s != nil {
			table[i] = c.Server(s)
		}
	}
	n.table.Store(table)
}

// Copy implements Copier.
func (h *sh) Copy(c Copying) Scheduler {
	n := newSH(Flags(h.flags.Load()))
	h.copyTo(&n.buckets, &c)
	return n
}

// Copy implements Copier.
func (h *dh) Copy(c Copying) Scheduler {
	n := newDH()
	h.copyTo(&n.buckets, &c)
	return n
}

// Copy implements Copier. The copy's table is the one that picks now: one that is being
// built in the background comes later.
func (m *mh) Copy(c Copying) Scheduler {
	n := newMH(Flags(m.flags.Load()))
	m.mu.Lock()
	n.list, n.version, n.built = m.list.copy(&c), m.version, m.version
	m.mu.Unlock()
	table := slices.Clone(*m.table.Load())
	for i, s := range table {
		table[i] = c.Server(s)
	}
	n.table.Store(&table)
	return n
}

// Copy implements Copier.
func (l *lblc) Copy(c Copying) Scheduler {
	n := &lblc{newLocality("lblc", Options{Clock: c.Clock, Expiration: l.cache.expiration})}
	l.copyTo(&n.locality, &c)
	for _, e := range n.cache.entries {
		e.server = c.Server(e.server)
	}
	return n
}

// Copy implements Copier.
func (l *lblcr) Copy(c Copying) Scheduler {
	n := &lblcr{newLocality("lblcr", Options{Clock: c.Clock, Expiration: l.cache.expiration})}
	l.copyTo(&n.locality, &c)
	for _, e := range n.cache.entries {
		members := make([]*RealServer, len(e.set.members))
		for i, m := range e.set.members {
			members[i] = c.Server(m)
		}
		e.set.members, e.set.index = members, nil
		if len(members) > setWalk {
			e.set.index = n.newIndex(members)
		}
	}
	return n
}

// copyTo copies what lblc and lblcr share; entries still name the servers copied from.
func (l *locality) copyTo(n *locality, c *Copying) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n.all.list, n.all.tree = l.all.list.copy(c), l.all.tree.copy()
	for s := range maps.Keys(l.light) {
		n.light[c.Server(s)] = struct{}{}
	}
	l.cache.copyTo(&n.cache, c.Flow)
}

// copyTo copies the entries, of a full cache those in the bucket of the flow's
// destination. The count stays that of all.
func (c *cache) copyTo(n *cache, f *frame.Flow) {
	n.size, n.rover, n.quiet, n.next = c.size, c.rover, c.quiet, c.next
	if len(c.entries) > cacheFull {
		n.copyBucket(c, hash32(fold(f.Dst16()), cacheBits))
		return
	}
	for i := range uint32(cacheBuckets) {
		n.copyBucket(c, i)
	}
}

func (c *cache) copyBucket(from *cache, bucket uint32) {
	last := &c.buckets[bucket]
	for e := from.buckets[bucket]; e != nil; e = e.next {
		n := *e
		n.next = nil
		n.set.members = slices.Clone(e.set.members)
		*last = &n
		last = &n.next
		c.entries[n.addr] = &n
	}
}

package conntrack

import (
	"sync/atomic"

	"uvs/forwarder/frame"
)

// Found is the result of a lookup: the connection, nil if there is none, and
// whether the flow is that of its replies.
type Found struct {
	Conn  *Conn
	Reply bool
}

// Lookup returns the connection that flow f belongs to, in either direction,
// or nil. It does not see templates. The Reader must have entered.
func (r *Reader) Lookup(f *frame.Flow) (c *Conn, isReply bool) {
	ref := r.t.find(f, r.t.hash(f, nil), nil)
	if ref == 0 {
		return nil, false
	}
	return &r.t.conns[ref>>1], ref&1 == reply
}

// LookupTagged returns the persistence template of flow f (see TemplateFlow) with
// a tag, or nil. The zero Tag is that of a template without one.
func (r *Reader) LookupTagged(f *frame.Flow, tag *Tag) *Conn {
	ref := r.t.find(f, r.t.hash(f, tag), tag)
	if ref == 0 {
		return nil
	}
	return &r.t.conns[ref>>1]
}

// find looks without a lock. A flow not found while its shard was growing is
// looked for again under the lock: the walk may have been led astray.
func (t *Table) find(f *frame.Flow, h uint64, tag *Tag) uint32 {
	s := t.shardOf(h)
	seq := s.seq.Load()
	ref := t.walk(t.first(h, s), f, tag)
	if ref != 0 || seq&1 == 0 && seq == s.seq.Load() {
		return ref
	}
	s.mu.Lock()
	ref = t.walk(t.first(h, s), f, tag)
	s.mu.Unlock()
	return ref
}

// LookupBatch looks up flows[i] into found[i], for all i; a nil flow finds
// nothing. When the table does not fit the cache it is several times faster than
// as many calls of Lookup, because it fetches memory well before it uses it: all
// chains' heads, then all first entries, then their successors. found must be at
// least as long as flows.
func (r *Reader) LookupBatch(flows []*frame.Flow, found []Found) {
	for len(flows) > batchMax {
		r.lookup(flows[:batchMax], found)
		flows, found = flows[batchMax:], found[batchMax:]
	}
	r.lookup(flows, found)
}

// batchMax is how many lookups are under way together: enough to keep the memory
// busy, few enough for their entries to stay in the nearest cache.
const batchMax = 64

// pending is one lookup of a batch under way.
type pending struct {
	hash uint64
	ref  uint32 // reference to look at next
	seq  uint32 // of the shard when the walk began
	i    uint32 // position in the batch
}

func (r *Reader) lookup(flows []*frame.Flow, found []Found) {
	t, n := r.t, 0
	found = found[:len(flows)]
	for i, f := range flows {
		found[i] = Found{}
		if f != nil {
			r.batch[n] = pending{hash: t.hash(f, nil), i: uint32(i)}
			n++
		}
	}
	batch := r.batch[:n]
	for i := range batch {
		p := &batch[i]
		s := t.shardOf(p.hash)
		p.seq = s.seq.Load()
		p.ref = t.first(p.hash, s)
	}
	for len(batch) > 0 {
		r.prefetch(batch)
		batch = t.step(batch, flows, found)
	}
}

// prefetch reads a word of each cache line that a packet may need of each entry,
// two or three lines, so that the processor fetches all of them at once.
func (r *Reader) prefetch(batch []pending) {
	sum := uint32(0)
	for i := range batch {
		c := &r.t.conns[batch[i].ref>>1]
		sum += atomic.LoadUint32(&c.status) + uint32(c.Real[0]) + uint32(c.Local[15])
	}
	r.sink = sum
}

// step compares each pending lookup with the entry it has come to, and returns
// those that have to go on.
func (t *Table) step(batch []pending, flows []*frame.Flow, found []Found) []pending {
	rest := 0
	for i := range batch {
		p := batch[i]
		f := flows[p.i]
		c := &t.conns[p.ref>>1]
		switch {
		case p.ref == 0:
			if s := t.shardOf(p.hash); p.seq&1 != 0 || p.seq != s.seq.Load() {
				if ref := t.find(f, p.hash, nil); ref != 0 {
					found[p.i] = Found{&t.conns[ref>>1], ref&1 == reply}
				}
			}
		case c.matches(f, p.ref&1, nil):
			found[p.i] = Found{c, p.ref&1 == reply}
		default:
			p.ref = atomic.LoadUint32(&c.link[p.ref&1])
			batch[rest] = p
			rest++
		}
	}
	return batch[:rest]
}

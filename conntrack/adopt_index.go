package conntrack

import (
	"cmp"
	"math/bits"
	"slices"
	"sync/atomic"

	"uvs/sched"
)

// index links the connections that are kept, each goroutine those of its slots, and
// then drops the second of two with one flow.
func (ad *adopter) index() {
	t, refs := ad.t, 0
	for i := range ad.parts {
		refs += ad.parts[i].refs
	}
	chains := min(max(startBuckets, uint32(refs/shards)), t.chains)
	t.mem.heads.exist(int(chains) << shardBits * 4)
	for i := range t.shards {
		t.shards[i].count.Store(chains)
	}
	for i := range ad.parts {
		for _, slot := range slices.Concat(ad.parts[i].expired, ad.parts[i].unknown) {
			atomic.StoreUint32(&t.conns[slot].status, 0)
		}
	}
	ad.parallel(ad.link)
	for i := range ad.parts {
		for id := range t.shards {
			t.shards[id].refs += uint32(ad.parts[i].linked[id][request] + ad.parts[i].linked[id][reply])
			t.shards[id].conns.Add(ad.parts[i].linked[id][request])
		}
	}
	ad.parallel(func(p *part) {
		p.repeated = slices.DeleteFunc(p.repeated, func(slot uint32) bool { return t.same(slot, ad.requestHash(slot)) == 0 })
	})
	for i := range ad.parts {
		for _, slot := range ad.parts[i].repeated {
			ad.settle(slot)
		}
	}
}

// settle keeps, of a connection and others with its flow, the one that saw most.
func (ad *adopter) settle(slot uint32) {
	t := ad.t
	for t.due[slot] != 0 {
		other := t.same(slot, ad.requestHash(slot))
		switch {
		case other == 0:
			return
		case t.conns[slot].sawMore(&t.conns[other]):
			ad.drop(other)
		default:
			ad.drop(slot)
		}
	}
}

// packedHashes returns what head needs of the hashes of a connection's flows: for
// each the shard, 23 bits more and a one, the request's in the upper half. The lower
// half is 0 if replies do not come back through the director.
func (t *Table) packedHashes(c *Conn) uint64 {
	f := c.RequestFlow()
	both := pack(t.hash(&f, c.tag())) << 32
	if c.Translated() {
		f = c.ReplyFlow()
		both |= pack(t.hash(&f, nil))
	}
	return both
}

func pack(h uint64) uint64 { return h>>(64-shardBits)<<24 | h&(1<<23-1)<<1 | 1 }

func unpack(p uint32) uint64 { return uint64(p>>24)<<(64-shardBits) | uint64(p)>>1&(1<<23-1) }

func (ad *adopter) requestHash(slot uint32) uint64 { return unpack(uint32(ad.hashes[slot] >> 32)) }

// link links the connections of a part.
func (ad *adopter) link(p *part) {
	batch := make([]pending, 0, batchMax)
	for slot := p.from; slot < p.to; slot++ {
		if ad.t.due[slot] == 0 {
			continue
		}
		if len(batch) > batchMax-2 {
			ad.linkAll(p, batch)
			batch = batch[:0]
		}
		batch = append(batch, pending{hash: ad.requestHash(slot), ref: slot<<1 | request})
		if back := uint32(ad.hashes[slot]); back != 0 {
			batch = append(batch, pending{hash: unpack(back), ref: slot<<1 | reply})
		}
	}
	ad.linkAll(p, batch)
}

// linkAll links a batch. It reads all chains' heads first, so that the processor
// fetches them together. Nobody follows a chain yet: a link may come after the head
// that leads to it.
func (ad *adopter) linkAll(p *part, batch []pending) {
	t := ad.t
	for i := range batch {
		h := batch[i].hash
		batch[i].seq = head(h, t.shardOf(h).count.Load())
		p.sink += uint64(atomic.LoadUint32(&t.heads[batch[i].seq])) + atomic.LoadUint64(ad.seen.word(h))
	}
	for i := range batch {
		h, ref := batch[i].hash, batch[i].ref
		c := &t.conns[ref>>1]
		c.link[ref&1] = atomic.SwapUint32(&t.heads[batch[i].seq], ref)
		p.linked[shardID(h)][ref&1]++
		if ref&1 == reply {
			continue
		}
		c.controls = 0
		if ad.seen.before(h) {
			p.repeated = append(p.repeated, ref>>1)
		}
	}
}

// seen is a set of hashes that may claim to have one that it has not. It saves
// looking for nearly all connections whether another has their flow, which misses
// the cache. Safe for concurrent use.
type seen []uint64

// seenWords returns how many words a set needs that, with n hashes, is wrong about one
// in sixteen.
func seenWords(n int) int { return 1 << bits.Len(uint(n/8)) }

// before adds a hash, and reports whether it may have been there before.
func (s seen) before(h uint64) bool {
	bit := uint64(1) << (h & 63)
	return atomic.OrUint64(s.word(h), bit)&bit != 0
}

func (s seen) word(h uint64) *uint64 {
	return &s[(h>>6&(1<<17-1)|h>>(64-shardBits)<<17)&uint64(len(s)-1)]
}

// same returns another connection with the flow of the one in a slot, 0 if there is
// none or if several can have it.
func (t *Table) same(slot uint32, h uint64) uint32 {
	c := &t.conns[slot]
	if c.Has(NoClientPort) || c.Has(Invalid) {
		return 0
	}
	f := c.RequestFlow()
	for ref := t.first(h, t.shardOf(h)); ref != 0; {
		o := &t.conns[ref>>1]
		if ref&1 == request && ref>>1 != slot && !o.Has(NoClientPort) && o.matches(&f, request, c.tag()) {
			return ref >> 1
		}
		ref = o.link[ref&1]
	}
	return 0
}

// sawMore reports whether c rather than o is the connection that goes on.
func (c *Conn) sawMore(o *Conn) bool {
	return cmp.Or(cmp.Compare(c.Packets(), o.Packets()), cmp.Compare(c.seen, o.seen)) > 0
}

// drop takes out a connection that was to be kept.
func (ad *adopter) drop(slot uint32) {
	t := ad.t
	c := &t.conns[slot]
	refs := []uint32{slot<<1 | request}
	if c.Translated() {
		refs = append(refs, slot<<1|reply)
	}
	for _, ref := range refs {
		h := t.hashOf(ref)
		t.pull(t.shardOf(h), h, ref)
		if ref&1 == request {
			t.shardOf(h).conns.Add(-1)
		}
	}
	p := &ad.parts[0]
	p.conns--
	if c.Has(NoClientPort) {
		p.expected--
	}
	for i := range ad.parts {
		if loads := ad.parts[i].loads; slot >= ad.parts[i].from && slot < ad.parts[i].to {
			loads[c.Server].add(c, -1)
		}
	}
	ad.counts.Duplicates++
	t.due[slot] = 0
	atomic.StoreUint32(&c.status, 0)
}

// slots makes a list of the free slots. The first Sweep finds out when each block
// is due.
func (ad *adopter) slots() {
	t := ad.t
	used := ad.used
	for used > 0 && t.due[used] == 0 {
		used--
	}
	for slot := used; slot > 0; slot-- {
		if t.due[slot] == 0 {
			t.slots.free.push(t.due, slot)
		}
	}
	t.use(used)
	for i := range ad.parts {
		t.expected.Add(int32(ad.parts[i].expected))
	}
	t.wakeProvide()
}

// inventory adds up what the parts found.
func (ad *adopter) inventory() Inventory {
	inv := ad.counts
	inv.Servers = map[sched.ID]Load{}
	for i := range ad.parts {
		p := &ad.parts[i]
		inv.Conns += p.conns
		inv.Expired += len(p.expired)
		inv.Unknown += len(p.unknown)
		for id, n := range p.loads {
			l := inv.Servers[sched.ID(id)]
			l.Active, l.Inactive = l.Active+n.Active, l.Inactive+n.Inactive
			l.Persistent, l.Translated = l.Persistent+n.Persistent, l.Translated+n.Translated
			if l != (Load{}) {
				inv.Servers[sched.ID(id)] = l
			}
		}
	}
	for _, l := range inv.Servers {
		inv.Templates += int(l.Persistent)
	}
	inv.Conns -= inv.Templates
	return inv
}

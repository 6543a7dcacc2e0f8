package conntrack

import (
	"cmp"
	"math/bits"
	"slices"
	"sync/atomic"

	"uvs/sched"
)

// index links the connections that are kept. Each goroutine goes through all of
// them and links what belongs to its shards, so that none needs a lock.
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
		for _, slot := range ad.parts[i].repeated {
			ad.drop(slot)
		}
	}
}

// packedHashes returns what head needs of the hashes of a connection's flows: for
// each the shard and 24 bits more, the request's in the upper half.
func (t *Table) packedHashes(c *Conn) uint64 {
	f := c.RequestFlow()
	both := pack(t.hash(&f, c.tag())) << 32
	if c.Translated() {
		f = c.ReplyFlow()
		both |= pack(t.hash(&f, nil))
	}
	return both
}

func pack(h uint64) uint64 { return h>>(64-shardBits)<<24 | h&(1<<24-1) }

func unpack(p uint32) uint64 { return uint64(p>>24)<<(64-shardBits) | uint64(p)&(1<<24-1) }

// link links what belongs to a part's shards.
func (ad *adopter) link(p *part) {
	t := ad.t
	p.seen = newSeen(p.conns)
	mine := func(h uint64) bool { return shardID(h) >= p.firstShard && shardID(h) < p.endShard }
	batch := make([]pending, 0, batchMax)
	for slot := uint32(1); slot <= ad.used; slot++ {
		if t.due[slot] == 0 {
			continue
		}
		if len(batch) > batchMax-2 {
			ad.linkAll(p, batch)
			batch = batch[:0]
		}
		if h := unpack(uint32(ad.hashes[slot] >> 32)); mine(h) {
			batch = append(batch, pending{hash: h, ref: slot<<1 | request})
		}
		if h := unpack(uint32(ad.hashes[slot])); mine(h) && t.conns[slot].Translated() {
			batch = append(batch, pending{hash: h, ref: slot<<1 | reply})
		}
	}
	ad.linkAll(p, batch)
	for i := p.firstShard; i < p.endShard; i++ {
		t.shards[i].conns.Store(p.linked[i])
	}
}

// linkAll links a batch. It reads all chains' heads first, so that the processor
// fetches them together.
func (ad *adopter) linkAll(p *part, batch []pending) {
	t := ad.t
	for i := range batch {
		h, ref := batch[i].hash, batch[i].ref
		p.sink += uint64(t.heads[head(h, t.shardOf(h).count.Load())]) + *p.seen.word(h) + uint64(t.conns[ref>>1].link[ref&1])
	}
	for i := range batch {
		if h, ref := batch[i].hash, batch[i].ref; ref&1 == reply {
			t.prepend(h, ref)
		} else {
			ad.linkRequest(p, h, ref>>1)
		}
	}
}

// linkRequest links a connection under its request flow. Of two with the same
// flow the one that saw more is kept.
func (ad *adopter) linkRequest(p *part, h uint64, slot uint32) {
	t := ad.t
	s := t.shardOf(h)
	p.linked[shardID(h)]++
	c := &t.conns[slot]
	c.controls = 0
	if p.seen.before(h) {
		if old := t.same(h, c); old != 0 {
			worse := slot
			if c.sawMore(&t.conns[old]) {
				t.pull(s, h, old<<1|request)
				worse = old
			}
			p.repeated = append(p.repeated, worse)
			if worse == slot {
				return
			}
		}
	}
	t.prepend(h, slot<<1|request)
}

// seen is a set of hashes that may claim to have one that it has not. It saves
// looking for nearly all connections whether another has their flow, which misses
// the cache.
type seen []uint64

// newSeen returns a set that, with n hashes, is wrong about one in eight.
func newSeen(n int) seen { return make(seen, 1<<bits.Len(uint(n/8))) }

// before adds a hash, and reports whether it may have been there before.
func (s seen) before(h uint64) bool {
	word, bit := s.word(h), uint64(1)<<(h&63)
	was := *word&bit != 0
	*word |= bit
	return was
}

func (s seen) word(h uint64) *uint64 { return &s[h>>6&uint64(len(s)-1)] }

// same returns the connection in the chain of h that no other may have the request
// flow of, if that is c's flow.
func (t *Table) same(h uint64, c *Conn) uint32 {
	if c.Has(NoClientPort) || c.Has(Invalid) {
		return 0
	}
	var f = c.RequestFlow()
	ref := t.first(h, t.shardOf(h))
	for ref != 0 {
		o := &t.conns[ref>>1]
		if ref&1 == request && !o.Has(NoClientPort) && o.matches(&f, request, c.tag()) {
			return ref >> 1
		}
		ref = o.link[ref&1]
	}
	return 0
}

// sawMore reports whether c rather than o is the connection that goes on.
func (c *Conn) sawMore(o *Conn) bool {
	return cmp.Or(cmp.Compare(c.packets, o.packets), cmp.Compare(c.seen, o.seen)) > 0
}

// prepend is push without atomics, for as long as nobody else is there.
func (t *Table) prepend(h uint64, ref uint32) {
	s := t.shardOf(h)
	p := &t.heads[head(h, s.count.Load())]
	t.conns[ref>>1].link[ref&1] = *p
	*p = ref
	s.refs++
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

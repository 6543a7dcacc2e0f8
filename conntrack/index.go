package conntrack

import (
	"math/bits"
	"sync/atomic"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// A reference names one link of a connection: its Ref doubled, plus 1 for the
// reply direction. 0 ends a chain.
const (
	request = 0
	reply   = 1
)

// hash returns the hash of a flow. Templates, which have a tag, have chains of
// their own.
func (t *Table) hash(f *frame.Flow, tag *Tag) uint64 {
	if tag != nil {
		return f.Hash(t.seed ^ templateSeed ^ fold(tag))
	}
	return f.Hash(t.seed)
}

// hashOf returns the hash under which the reference is linked.
func (t *Table) hashOf(ref uint32) uint64 {
	c := &t.conns[ref>>1]
	if ref&1 == reply {
		f := c.ReplyFlow()
		return t.hash(&f, nil)
	}
	f := c.RequestFlow()
	return t.hash(&f, c.tag())
}

// shardID returns which shard a hash belongs to.
func shardID(h uint64) uint32 { return uint32(h >> (64 - shardBits)) }

func (t *Table) shardOf(h uint64) *shard { return &t.shards[shardID(h)] }

// head returns the index in heads of the chain for hash h in a shard with n
// chains: bits of the hash as for the next power of two, one bit less where
// that chain does not exist yet.
func head(h uint64, n uint32) uint32 {
	b := uint32(h) & (1<<bits.Len32(n-1) - 1)
	if b >= n {
		b &= 1<<(bits.Len32(n-1)-1) - 1
	}
	return b<<shardBits | shardID(h)
}

// first returns the first reference of the chain for h.
func (t *Table) first(h uint64, s *shard) uint32 {
	return atomic.LoadUint32(&t.heads[head(h, s.count.Load())])
}

// walk follows a chain from ref to the link with flow f, or to 0.
func (t *Table) walk(ref uint32, f *frame.Flow, tag *Tag) uint32 {
	for ref != 0 {
		c := &t.conns[ref>>1]
		if c.matches(f, ref&1, tag) {
			return ref
		}
		ref = atomic.LoadUint32(&c.link[ref&1])
	}
	return 0
}

// matches reports whether f is the connection's flow in direction dir and tag is
// the template's tag; for a connection, which has none, tag is nil. A dead entry
// or an invalid template matches nothing.
func (c *Conn) matches(f *frame.Flow, dir uint32, tag *Tag) bool {
	const key = 0xff | uint32(Template|Invalid|dead)<<flagShift
	status, want := atomic.LoadUint32(&c.status), uint32(f.Proto())
	if tag != nil {
		want |= uint32(Template) << flagShift
	}
	if status&key != want || tag != nil && *tag != c.Local {
		return false
	}
	if dir == request {
		return f.SrcPort() == c.ClientPort && f.DstPort() == c.VirtualPort && f.MatchAddrs(&c.Client, &c.Virtual)
	}
	if f.SrcPort() != c.RealPort {
		return false
	}
	if sched.Method(Flags(status>>flagShift) & methodMask).NeedsLocal() {
		return f.DstPort() == c.LocalPort && f.MatchAddrs(&c.Real, &c.Local)
	}
	return f.DstPort() == c.ClientPort && f.MatchAddrs(&c.Real, &c.Client)
}

// push links ref at the front of its chain. The shard's lock is held.
func (t *Table) push(s *shard, h uint64, ref uint32) {
	p := &t.heads[head(h, s.count.Load())]
	atomic.StoreUint32(&t.conns[ref>>1].link[ref&1], atomic.LoadUint32(p))
	atomic.StoreUint32(p, ref)
	s.refs++
	if s.refs > s.count.Load() {
		t.split(s, shardID(h))
	}
}

// pull takes ref out of its chain. Its own link stays, for readers that have got
// to it. The shard's lock is held.
func (t *Table) pull(s *shard, h uint64, ref uint32) {
	p := &t.heads[head(h, s.count.Load())]
	for {
		at := atomic.LoadUint32(p)
		if at == 0 {
			return
		}
		link := &t.conns[at>>1].link[at&1]
		if at == ref {
			atomic.StoreUint32(p, atomic.LoadUint32(link))
			s.refs--
			return
		}
		p = link
	}
}

// split adds one chain to the shard and moves to it what belongs there, from the
// one chain that held both. Order is kept. The shard's lock is held; readers whose
// walk the split may have diverted see seq change.
func (t *Table) split(s *shard, id uint32) {
	n := s.count.Load()
	if n >= t.chains {
		return
	}
	level := uint32(1) << (bits.Len32(n) - 1)
	low := &t.heads[(n-level)<<shardBits|id]
	high := &t.heads[n<<shardBits|id]
	s.seq.Add(1)
	for ref := atomic.LoadUint32(low); ref != 0; {
		link := &t.conns[ref>>1].link[ref&1]
		next := atomic.LoadUint32(link)
		if uint32(t.hashOf(ref))&level != 0 {
			atomic.StoreUint32(high, ref)
			high = link
		} else {
			atomic.StoreUint32(low, ref)
			low = link
		}
		ref = next
	}
	atomic.StoreUint32(low, 0)
	atomic.StoreUint32(high, 0)
	s.count.Store(n + 1)
	s.seq.Add(1)
}

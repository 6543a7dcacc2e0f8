package sched

import (
	"math"
	"sync/atomic"
	"time"
)

// Constants of the caches of lblc and lblcr (ip_vs_lblc.c, ip_vs_lblcr.c).
const (
	cacheBits     = 10              // of the bucket number: CONFIG_IP_VS_LBLC_TAB_BITS
	cacheFull     = 16 << cacheBits // entries above which a tick makes room
	cacheBound    = 64 * cacheFull  // largest number of entries; the kernel has no bound between ticks
	cacheTick     = time.Minute
	cacheIdle     = 6 * time.Minute // an entry idle for that long may go to make room
	ticksToSweep  = 30              // quiet ticks until a full sweep drops everything expired
	cacheBuckets  = 1 << cacheBits
	entriesPerNew = 64 // entries allocated together
)

// cache maps a destination address to its server, or set of servers. It expires
// entries as the kernel's table does, where the bucket of an address matters; but
// entries are found by a map, so nobody can slow lookups down by choosing addresses
// that fall into one bucket.
//
// There is no timer. A pick first runs the ticks that came due since the last one,
// each at its own time. The result is the same, because nothing else touches the
// cache between picks.
type cache struct {
	entries    map[[16]byte]*entry
	buckets    [cacheBuckets]*entry
	free       *entry
	size       int // the kernel's count, see replaced
	rover      uint32
	quiet      int // ticks since the last full sweep, from 1; one that makes room does not count
	next       time.Duration
	expiration func() time.Duration
	forgotten  *atomic.Uint64 // entries dropped because of cacheBound
}

// entry is one destination address. lblc uses server, lblcr set.
type entry struct {
	addr    [16]byte
	bucket  uint32
	lastUse time.Duration
	next    *entry
	server  *RealServer
	set     set
}

func newCache(o Options) cache {
	return cache{
		entries:    map[[16]byte]*entry{},
		quiet:      1,
		next:       o.Clock() + cacheTick,
		expiration: o.Expiration,
		forgotten:  o.Forgotten,
	}
}

// get returns the entry of addr, or nil, and marks it used.
func (c *cache) get(addr [16]byte, now time.Duration) *entry {
	e := c.entries[addr]
	if e != nil {
		e.lastUse = now
	}
	return e
}

// insert adds an entry. At the bound it first drops all entries of one bucket, each
// time of the next one: packets to ever new addresses, even without connections,
// cannot use up all memory before a tick comes.
func (c *cache) insert(addr [16]byte, now time.Duration) *entry {
	if len(c.entries) >= cacheBound {
		c.rover = (c.rover + 1) % cacheBuckets
		c.forgotten.Add(uint64(c.sweepBucket(now)))
	}
	if c.free == nil {
		block := make([]entry, entriesPerNew)
		for i := range block {
			block[i].next, c.free = c.free, &block[i]
		}
	}
	e := c.free
	c.free = e.next
	e.addr, e.lastUse, e.bucket = addr, now, hash32(fold(addr), cacheBits)
	e.next = c.buckets[e.bucket]
	c.buckets[e.bucket] = e
	c.entries[addr] = e
	c.size++
	return e
}

// replaced counts an entry whose server was replaced. The kernel puts a new entry
// in place of the old one and counts it without subtracting the old one: after many
// replacements the table counts as full early, and entries go after cacheIdle. We
// count the same.
func (c *cache) replaced() { c.size++ }

// advance runs the ticks that are due.
func (c *cache) advance(now time.Duration) {
	for c.next <= now {
		c.tick(c.next)
		c.next += cacheTick
	}
}

func (c *cache) tick(now time.Duration) {
	switch {
	case c.quiet%ticksToSweep == 0:
		c.sweep(now-c.expiration(), math.MaxInt)
		c.quiet = 1
	case c.size <= cacheFull:
		c.quiet++
	default:
		c.sweep(now-cacheIdle, min((c.size-cacheFull)*4/3, cacheFull/2))
	}
}

// sweep drops entries last used at or before since, bucket by bucket from where the
// last sweep ended, until goal entries are gone or it has seen all buckets.
func (c *cache) sweep(since time.Duration, goal int) {
	for range cacheBuckets {
		c.rover = (c.rover + 1) % cacheBuckets
		goal -= c.sweepBucket(since)
		if goal <= 0 {
			return
		}
	}
}

func (c *cache) sweepBucket(since time.Duration) (dropped int) {
	for p := &c.buckets[c.rover]; *p != nil; {
		e := *p
		if e.lastUse > since {
			p = &e.next
			continue
		}
		*p = e.next
		delete(c.entries, e.addr)
		*e = entry{next: c.free, set: e.set.emptied()}
		c.free = e
		c.size--
		dropped++
	}
	return dropped
}

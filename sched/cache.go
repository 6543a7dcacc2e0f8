package sched

import (
	"math"
	"sync/atomic"
	"time"
)

// Constants of the caches of lblc and lblcr (ip_vs_lblc.c, ip_vs_lblcr.c).
const (
	cacheBits     = 10              // of the bucket number: CONFIG_IP_VS_LBLC_TAB_BITS
	cacheMax      = 16 << cacheBits // entries above which a tick makes room
	cacheMost     = 64 * cacheMax   // entries there ever are, but for a bucket's; the kernel has no such bound between ticks
	cacheTick     = time.Minute
	cacheIdle     = 6 * time.Minute // an entry idle that long may go to make room
	ticksToSweep  = 30              // quiet ticks until everything expired goes
	cacheBuckets  = 1 << cacheBits
	entriesPerNew = 64 // entries allocated together
)

// cache remembers which server, or set of servers, serves a destination
// address. It is the kernel's table with its habits of expiry, in which the
// bucket an address falls into matters; entries are found by a map, so that
// nobody can make one bucket's chain long by the addresses he asks for.
//
// Time passes when a pick looks at it: ticks that were due meanwhile are made
// up for one by one, each at its own time, which comes to the same because
// nothing else touches the cache between picks. So there is no timer to stop.
type cache struct {
	entries    map[[16]byte]*entry
	buckets    [cacheBuckets]*entry
	free       *entry
	size       int // the kernel's count, see replaced
	rover      uint32
	quiet      int // ticks since the last full sweep, from 1; one that makes room does not count
	next       time.Duration
	expiration func() time.Duration
	forgotten  *atomic.Uint64 // entries that went for the bound
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

// get returns the entry of addr and marks it used, or nil.
func (c *cache) get(addr [16]byte, now time.Duration) *entry {
	e := c.entries[addr]
	if e != nil {
		e.lastUse = now
	}
	return e
}

// insert adds an entry. At the bound it first forgets what one bucket remembers,
// each time the next: packets to ever new addresses, which need not even lead to
// connections, cannot take all memory before a tick comes.
func (c *cache) insert(addr [16]byte, now time.Duration) *entry {
	if len(c.entries) >= cacheMost {
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

// replaced counts an entry whose server was exchanged. The kernel puts a new
// entry in place of the old one and counts it without taking the old one off:
// a table with many replacements believes itself full early, and makes room by
// the shorter time. We count with it.
func (c *cache) replaced() { c.size++ }

// advance makes up for the ticks that are due.
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
	case c.size <= cacheMax:
		c.quiet++
	default:
		c.sweep(now-cacheIdle, min((c.size-cacheMax)*4/3, cacheMax/2))
	}
}

// sweep drops entries last used before or at since, bucket by bucket from where
// the last sweep ended, until goal entries are gone or all buckets were seen.
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

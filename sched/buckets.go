package sched

import (
	"sync"
	"sync/atomic"
)

// bucketBits is CONFIG_IP_VS_SH_TAB_BITS and CONFIG_IP_VS_DH_TAB_BITS.
const bucketBits = 8

const bucketCount = 1 << bucketBits

// buckets is the table of sh and dh: 256 buckets filled with the servers in IPVS's
// order, over and over until all are full. A change builds a new table and swaps it
// in; a pick takes no lock.
type buckets struct {
	table atomic.Pointer[[bucketCount]*RealServer]
	mu    sync.Mutex // guards list
	list  list
	share func(*RealServer) int32 // how many buckets in a row a server gets; at least 1
}

func (b *buckets) at(hash uint32) *RealServer {
	if t := b.table.Load(); t != nil {
		return t[hash%bucketCount]
	}
	return nil
}

// fill builds and stores a new table. The caller holds mu.
func (b *buckets) fill() {
	t := new([bucketCount]*RealServer)
	for n := 0; n < bucketCount && len(b.list.slots) > 0; {
		b.list.each(func(_ int, s *RealServer) bool {
			for range min(max(1, b.share(s)), int32(bucketCount-n)) {
				t[n] = s
				n++
			}
			return n < bucketCount
		})
	}
	b.table.Store(t)
}

func (b *buckets) Add(s *RealServer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, _, ok := b.list.add(s); ok {
		b.fill()
	}
}

func (b *buckets) Remove(s *RealServer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.list.remove(s); ok {
		b.fill()
	}
}

func (b *buckets) Update(s *RealServer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slot, ok := b.list.slots[s]; ok && b.list.edited(slot) {
		b.fill()
	}
}

// Count does nothing: Pick looks at the overload state itself.
func (b *buckets) Count(*RealServer) {}

package conntrack

import (
	"context"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// hugePage is the size in bytes of the pages that the table grows by.
const hugePage = 2 << 20

// region is one array of the table's memory. It begins lead bytes before a
// huge-page boundary: a small table stays in ordinary pages, and a larger one
// gets another huge page whenever less than half of lead is left.
//
// With a million flows in turn, a packet by DR costs 1.14 times what the null
// forwarder's does, against 1.24 with ordinary pages, and by NAT 1.12 against
// 1.20 (uvs bench quick, medians of one run): a lookup in ordinary pages misses
// the TLB for each part of an entry.
type region struct {
	backing
	lead  int
	ready atomic.Int64 // bytes from the start that are in huge pages, or left to ordinary ones
}

// Values of region.lead in bytes. Half of it must last until the next page is
// there: a quarter of a millisecond, or 5 to 15 ms if the hypervisor has to find
// the memory first.
const (
	connLead = 2<<20 - HeaderSize // half: 9,344 connections
	headLead = 128 << 10          // half: 8,192 connections, linked twice
)

// needsPage reports whether less than half of lead is ready beyond the used
// bytes.
func (r *region) needsPage(used int) bool {
	ready := int(r.ready.Load())
	return used+r.lead/2 > ready && ready < len(r.bytes)
}

// exist has the first n bytes of private memory exist, in huge pages if there are
// any, before they are used all at once.
func (r *region) exist(n int) {
	for int(r.ready.Load()) < n {
		r.provide(0)
	}
}

// provide has the kernel make the next huge page, and reports whether there was
// memory for it. Bytes already in use stay in ordinary pages. If the kernel has
// no huge pages, private memory is left to ordinary ones for good, and shared
// memory goes on in ordinary ones.
func (r *region) provide(used int) bool {
	from := int(r.ready.Load())
	for from < used {
		from += hugePage
	}
	to := from + hugePage
	if to > len(r.bytes) {
		r.ready.Store(int64(len(r.bytes)))
		return true
	}
	page := r.bytes[from:to]
	if r.shared {
		if !r.reach(to) {
			return false
		}
		r.collapse(page)
		r.ready.Store(int64(to))
		return true
	}
	err := unix.Madvise(page, unix.MADV_HUGEPAGE)
	if err == nil {
		err = unix.Madvise(page, unix.MADV_POPULATE_WRITE)
	}
	if err != nil {
		to = len(r.bytes)
	}
	r.ready.Store(int64(to))
	return true
}

// collapse puts shared memory, which exists, into a huge page. MADV_COLLAPSE (Linux
// 6.1) does so also where shmem_enabled is never, as on most systems; elsewhere the
// memory stays as it is.
func (r *region) collapse(page []byte) {
	if isAligned(page) {
		_ = unix.Madvise(page, unix.MADV_COLLAPSE)
	}
}

// wakeProvide wakes Provide if the ready memory runs short.
func (t *Table) wakeProvide() {
	if !t.mem.conns.needsPage(t.connBytes()) && !t.mem.heads.needsPage(t.headBytes()) {
		return
	}
	select {
	case t.mem.wanted <- struct{}{}:
	default:
	}
}

// connBytes returns how much of the array of connections is in use.
func (t *Table) connBytes() int { return int(t.slots.used.Load()) * ConnSize }

// headBytes returns how much of the array of chain heads is in use. All shards
// grow alike.
func (t *Table) headBytes() int { return int(t.shards[0].count.Load()) << shardBits * 4 }

// Provide makes huge pages ready before the table grows into them, until the
// context ends. The table works without it: memory that Provide does not reach
// in time comes in ordinary pages at first use. Inserts never wait for a huge
// page, which can take 15 ms.
func (t *Table) Provide(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.mem.wanted:
		}
		for ctx.Err() == nil && t.provide() {
		}
	}
}

// provide makes the next huge page of each array that needs one, and reports
// whether it made any.
func (t *Table) provide() (made bool) {
	m := &t.mem
	if m.conns.needsPage(t.connBytes()) && m.conns.provide(t.connBytes()) {
		m.follow()
		made = true
	}
	if m.heads.needsPage(t.headBytes()) {
		m.heads.provide(t.headBytes())
		made = true
	}
	return made
}

// follow has the other arrays exist as far as that of connections does; that of
// endings only if it is used at all.
func (m *memory) follow() {
	n := int(m.conns.until.Load()) / ConnSize
	m.sums.reach(n * 4)
	if m.endings.until.Load() > 0 {
		m.endings.reach(n * endingSize)
	}
}

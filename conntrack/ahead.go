package conntrack

import (
	"context"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// hugePage is the size in bytes of the pages that the table grows by.
const hugePage = 2 << 20

// region is one array of the table's memory. It begins lead bytes before a
// boundary of huge pages: a small table keeps to ordinary pages, and a larger
// one is given a huge page whenever less than half of lead is left.
//
// With a million flows in turn, a packet by DR costs 1.14 times what the null
// forwarder's does instead of 1.24, by NAT 1.12 instead of 1.20 (uvs bench
// quick, medians of one run): a lookup in ordinary pages misses the TLB for
// each part.
type region struct {
	lead  int
	bytes []byte
	ready atomic.Int64 // bytes from the start that are provided, or left to ordinary pages
}

// lead sizes in bytes: half of one must last until the page is there, which
// takes a quarter of a millisecond, and 5 to 15 where the hypervisor has to find
// the memory first.
const (
	connLead = 2 << 20   // half: 9,362 connections
	headLead = 128 << 10 // half: 8,192 of them, linked twice
)

// short reports whether so many used bytes leave too little that is provided.
func (r *region) short(used int) bool {
	ready := int(r.ready.Load())
	return used+r.lead/2 > ready && ready < len(r.bytes)
}

// provide has the next huge page made. What is in use already stays in ordinary
// pages. It gives up for good where the kernel has no such thing.
func (r *region) provide(used int) {
	from := int(r.ready.Load())
	for from < used {
		from += hugePage
	}
	to := from + hugePage
	if to > len(r.bytes) {
		r.ready.Store(int64(len(r.bytes)))
		return
	}
	page := r.bytes[from:to]
	err := unix.Madvise(page, unix.MADV_HUGEPAGE)
	if err == nil {
		err = unix.Madvise(page, unix.MADV_POPULATE_WRITE)
	}
	if err != nil {
		to = len(r.bytes)
	}
	r.ready.Store(int64(to))
}

// ask wakes Provide if memory runs short.
func (t *Table) ask() {
	if !t.mem.conns.short(t.connBytes()) && !t.mem.heads.short(t.headBytes()) {
		return
	}
	select {
	case t.mem.wanted <- struct{}{}:
	default:
	}
}

// connBytes returns how much of the array of connections is in use.
func (t *Table) connBytes() int { return int(t.slots.used.Load()) * ConnSize }

// headBytes returns how much of the array of chains is in use. All shards grow
// alike.
func (t *Table) headBytes() int { return int(t.shards[0].count.Load()) << shardBits * 4 }

// Provide readies memory, in huge pages, before the table grows into it, until
// the context ends. The table works without it: its memory then comes into being
// in ordinary pages as it is used, as what Provide is too late for does. Inserts
// never wait for a huge page, which takes up to 15 ms.
func (t *Table) Provide(ctx context.Context) {
	m := &t.mem
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wanted:
		}
		for m.conns.short(t.connBytes()) && ctx.Err() == nil {
			m.conns.provide(t.connBytes())
		}
		for m.heads.short(t.headBytes()) && ctx.Err() == nil {
			m.heads.provide(t.headBytes())
		}
	}
}

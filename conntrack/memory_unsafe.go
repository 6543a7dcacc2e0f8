package conntrack

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is what is behind a Table's arrays: the entries, which may outlive the
// process, and the index over them, which a process makes anew. Both are reserved
// without swap: a page exists once it is first written, or once Provide has made
// it.
type memory struct {
	mapping      []byte  // anonymous: the index and, unless they are the caller's, the entries
	used         *uint64 // in the header: see usedWord
	conns, heads region
	header       backing
	sums         backing
	endings      backing
	wanted       chan struct{} // wakes Provide: one of the regions runs short
	short        atomic.Bool   // the last entry had no room
}

// reserve maps room for n entries and points t's arrays into it. The entries are
// in shared, if it is not nil.
func (m *memory) reserve(t *Table, n int, shared []byte) error {
	blocks := (n + blockEntries - 1) / blockEntries
	chains := int(t.chains) << shardBits
	place := layouts[0].place(n)
	heads, due, soon := pageSpan(headLead, chains*4), pageSpan(0, n*4), pageSpan(0, blocks*4)
	size := hugePage + heads + due + soon
	if shared == nil {
		size += place.size
	}
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("conntrack: reserve %d MiB for %d connections: %w", size>>20, n, err)
	}
	m.mapping = b
	m.wanted = make(chan struct{}, 1)
	b = b[-uintptr(unsafe.Pointer(&b[0]))%hugePage:]
	m.heads.set(headLead, b[:heads], false)
	t.heads = words(m.heads.bytes, chains)
	t.due = words(b[heads:], n)
	t.soon = words(b[heads+due:], blocks)
	entries := shared
	if shared == nil {
		entries = b[heads+due+soon:][:place.size]
	}
	m.place(t, n, entries, shared != nil)
	return nil
}

// place points t's arrays of entries into b.
func (m *memory) place(t *Table, n int, b []byte, shared bool) {
	at := layouts[0].place(n)
	m.header.init(b[:HeaderSize], shared)
	m.used = (*uint64)(unsafe.Pointer(&b[headerUsed]))
	m.conns.set(connLead, b[:at.sums], shared)
	m.sums.init(b[at.sums:at.endings], shared)
	m.endings.init(b[at.endings:at.size], shared)
	t.conns = unsafe.Slice((*Conn)(unsafe.Pointer(&m.conns.bytes[0])), n)
	t.sums = words(b[at.sums:], n)
	t.endings = unsafe.Slice((*ending)(unsafe.Pointer(&b[at.endings])), n)
}

// pageSpan returns the length in whole huge pages, in bytes, of n bytes that begin
// lead bytes before the end of a huge page.
func pageSpan(lead, n int) int {
	if lead > 0 {
		n += hugePage - lead
	}
	return (n + hugePage - 1) &^ (hugePage - 1)
}

// set makes b, whole huge pages, the memory of the region.
func (r *region) set(lead int, b []byte, shared bool) {
	r.init(b[hugePage-lead:], shared)
	r.lead = lead
	r.ready.Store(int64(lead))
}

func words(b []byte, n int) []uint32 { return unsafe.Slice((*uint32)(unsafe.Pointer(&b[0])), n) }

func longs(b []byte) []uint64 { return unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), len(b)/8) }

// scratch returns n bytes of memory that are about to be used, in huge pages if
// there are any. The caller unmaps it.
func scratch(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, pageSpan(0, n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("conntrack: memory for adoption: %w", err)
	}
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	return b, nil
}

func (m *memory) release() error {
	b := m.mapping
	m.mapping = nil
	if b == nil {
		return ErrClosed
	}
	return unix.Munmap(b)
}

// pages returns the whole pages that b is in, which belong to the same mapping.
func pages(b []byte) []byte {
	from := uintptr(unsafe.Pointer(&b[0]))
	before, after := from%pageSize, -(from+uintptr(len(b)))%pageSize
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&b[0]), -int(before))), len(b)+int(before+after))
}

// touch has the page exist that b begins with. It changes nothing, whoever writes
// there meanwhile.
func touch(b []byte) { atomic.OrUint32((*uint32)(unsafe.Pointer(&b[0])), 0) }

// isAligned reports whether huge pages can be in the memory of b.
func isAligned(b []byte) bool { return uintptr(unsafe.Pointer(&b[0]))%hugePage == 0 }

// Ref returns the number of a connection of this table.
func (t *Table) Ref(c *Conn) Ref {
	off := uintptr(unsafe.Pointer(c)) - uintptr(unsafe.Pointer(&t.conns[0]))
	return Ref(off / unsafe.Sizeof(Conn{}))
}

// contains reports whether c is an entry of the table and not a caller's own
// value.
func (t *Table) contains(c *Conn) bool {
	off := uintptr(unsafe.Pointer(c)) - uintptr(unsafe.Pointer(&t.conns[0]))
	return off < uintptr(len(t.conns))*unsafe.Sizeof(Conn{})
}

// Notes returns memory in which an application helper keeps what it knows about a
// connection in the table: zero at first, and adopted with the table. It is
// there for connections with the flag Helped that are not by FULLNAT, and guarded
// by the caller.
func (t *Table) Notes(c *Conn) *[5]uint32 { return (*[5]uint32)(unsafe.Pointer(&t.ending(c).marks)) }

package conntrack

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// memory is the mapping behind a Table's arrays. It is anonymous and reserved
// without swap: a page exists once it is first written, or once Provide has made
// it.
type memory struct {
	mapping      []byte
	conns, heads region
	wanted       chan struct{} // wakes Provide: one of the regions runs short
}

// reserve maps room for n entries and points t's arrays into it.
func (m *memory) reserve(t *Table, n int) error {
	blocks := (n + blockEntries - 1) / blockEntries
	chains := int(t.chains) << shardBits
	conns, heads := pageSpan(connLead, n*ConnSize), pageSpan(headLead, chains*4)
	due, soon, endings := pageSpan(0, n*4), pageSpan(0, blocks*4), pageSpan(0, n*endingSize)
	size := hugePage + conns + heads + due + soon + endings
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("conntrack: reserve %d MiB for %d connections: %w", size>>20, n, err)
	}
	m.mapping = b
	m.wanted = make(chan struct{}, 1)
	b = b[-uintptr(unsafe.Pointer(&b[0]))%hugePage:]
	m.conns.set(connLead, b[:conns])
	m.heads.set(headLead, b[conns:conns+heads])
	t.conns = unsafe.Slice((*Conn)(unsafe.Pointer(&m.conns.bytes[0])), n)
	t.heads = words(m.heads.bytes, chains)
	t.due = words(b[conns+heads:], n)
	t.soon = words(b[conns+heads+due:], blocks)
	t.endings = unsafe.Slice((*ending)(unsafe.Pointer(&b[conns+heads+due+soon])), n)
	return nil
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
func (r *region) set(lead int, b []byte) {
	r.lead = lead
	r.bytes = b[hugePage-lead:]
	r.ready.Store(int64(lead))
}

func words(b []byte, n int) []uint32 { return unsafe.Slice((*uint32)(unsafe.Pointer(&b[0])), n) }

func (m *memory) release() error {
	b := m.mapping
	m.mapping = nil
	if b == nil {
		return ErrClosed
	}
	return unix.Munmap(b)
}

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

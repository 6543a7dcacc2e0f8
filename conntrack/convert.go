package conntrack

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Convert copies a table that was made with the layout before, or for another
// number of connections, into new memory: Size bytes of zeros for the capacity
// that is wanted. A table made of to then waits for Adopt. Convert only reads from;
// if it fails, to is of no use. It reports how many connections had no place.
//
// Errors wrap ErrForeign, ErrNewer or ErrDamaged, or say that there is no memory.
func Convert(to []byte, capacity int, from []byte) (left int, err error) {
	return convert(to, capacity, from, layouts)
}

func convert(to []byte, capacity int, from []byte, known []layout) (left int, err error) {
	h, written, err := inspect(from, known)
	if err != nil || !written {
		return 0, err
	}
	l := layoutOf(h.Version, known)
	old := source{
		layout: l, places: l.place(h.Capacity + 1), b: from,
		conns: moves(connFields, l.conn), ends: moves(endingFields, l.ending),
	}
	if len(from) != old.size {
		return 0, fmt.Errorf("conntrack: %w: %d bytes of memory for %d connections, not %d", ErrDamaged, len(from), h.Capacity, old.size)
	}
	if old.used, err = usedOf(from, h.Capacity); err != nil {
		return 0, err
	}
	t, err := New(Config{Capacity: capacity, Memory: to, Base: h.Base})
	if err != nil {
		return 0, err
	}
	defer t.Close()
	t.head.Key = h.Key
	t.head.write(to)
	return t.copyFrom(&old)
}

// source is a table in a layout that Convert reads.
type source struct {
	*layout
	places
	b           []byte
	used        uint32
	conns, ends []move
}

// copyFrom copies all connections of old into slots from 1 on.
func (t *Table) copyFrom(old *source) (left int, err error) {
	slots := make([]Ref, old.used+1) // by old slot
	n := Ref(0)
	var c Conn
	var e ending
	for slot := uint32(1); slot <= old.used; slot++ {
		if live, err := old.read(slot, &c, &e); err != nil {
			return 0, err
		} else if live && int(n) < t.Capacity() {
			n++
			slots[slot] = n
		} else if live {
			left++
		}
	}
	if !t.mem.holds(uint32(n)) || !t.mem.endings.reach((int(n)+1)*endingSize) {
		return 0, fmt.Errorf("conntrack: memory for %d connections: %w", n, unix.ENOSPC)
	}
	for slot, at := range slots {
		if at == 0 {
			continue
		}
		if _, err := old.read(uint32(slot), &c, &e); err != nil {
			return 0, err
		}
		if c.Control = slotOf(slots, c.Control); c.usesEnding() {
			t.endings[at] = e
		}
		t.conns[at] = c
		t.sums[at] = c.sum(&e)
	}
	atomic.StoreUint64(t.mem.used, usedWord(uint32(n)))
	return left, nil
}

// slotOf returns the new slot of an old one; one that does not exist is none.
func slotOf(slots []Ref, old Ref) Ref {
	if int(old) >= len(slots) {
		return 0
	}
	return slots[old]
}

// read reads the connection in a slot, and reports whether there is one.
func (old *source) read(slot uint32, c *Conn, e *ending) (live bool, err error) {
	*c, *e = Conn{}, ending{}
	carry(connOf(c), old.b[HeaderSize+int(slot)*old.connLen:], old.conns)
	if c.status == 0 || c.Gone() {
		return false, nil
	}
	if c.usesEnding() {
		carry(bytesOf(e), old.b[old.places.endings+int(slot)*old.endLen:], old.ends)
	}
	want := binary.NativeEndian.Uint32(old.b[old.sums+int(slot)*4:])
	if sum := old.sum(c, e); sum != want {
		return false, fmt.Errorf("conntrack: entry %d: %w: its checksum is %08x, not %08x", slot, ErrDamaged, sum, want)
	}
	return true, nil
}

// move says that the bytes of a field are elsewhere in another layout.
type move struct{ to, from, size uintptr }

// moves returns where the fields of a layout are in another; one that the other
// lacks is nowhere.
func moves(to, from []field) []move {
	var all []move
	for _, f := range to {
		if i := slices.IndexFunc(from, func(g field) bool { return g.name == f.name }); i >= 0 {
			all = append(all, move{f.at, from[i].at, min(f.size, from[i].size)})
		}
	}
	return all
}

func carry(to, from []byte, all []move) {
	for _, m := range all {
		copy(to[m.to:m.to+m.size], from[m.from:])
	}
}

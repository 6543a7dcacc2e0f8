package sched

import (
	"fmt"
	"sync"
	"sync/atomic"

	"uvs/forwarder/frame"
)

// mh is Maglev hashing (ip_vs_mh.c): the client's address gives a slot of a table.
// When a server is added or removed, few slots of the others change, and the table
// is the same on every director. The flags mh-port and mh-fallback are those of sh.
//
// A change builds a new table in the caller's goroutine, while picks go on with
// the old one and without a lock; concurrent changes share a build. With more
// servers than the kernel can have (maglevSize) a build takes milliseconds: it then
// runs in the background, unless a server was removed.
type mh struct {
	table atomic.Pointer[maglev]
	flags atomic.Uint32

	mu      sync.Mutex // guards list and version
	list    list
	version uint64 // changes so far

	building   sync.Mutex // guards built
	built      uint64     // version of table
	background atomic.Bool
}

func newMH(flags Flags) *mh {
	m := &mh{}
	m.SetFlags(flags)
	m.table.Store(new(maglev))
	return m
}

func (m *mh) Name() string { return "mh" }

// SetFlags changes mh-fallback and mh-port.
func (m *mh) SetFlags(f Flags) { m.flags.Store(uint32(f)) }

func (m *mh) Pick(f *frame.Flow, rec *Record) *RealServer {
	flags, table := Flags(m.flags.Load()), *m.table.Load()
	if rec != nil {
		rec.Beginf("mh", "a slot of %d, from siphash(%s)", len(table), hashed(f, flags))
	}
	if len(table) == 0 {
		return nil
	}
	key := fold(f.Src16())
	if flags&Port != 0 {
		key += uint32(f.SrcPort())
	}
	s := table.pick(key, flags, rec)
	if rec != nil {
		rec.Choose(s)
	}
	return s
}

// pick probes slots for a server that can take a connection: the key's own and,
// with the flag for it, those the key hashes to with growing offsets, the first
// offset being the number of the slot itself.
func (t maglev) pick(key uint32, flags Flags, rec *Record) *RealServer {
	size := uint32(len(t))
	slot := t.probe(key, rec)
	if s := t[slot]; s.Eligible() {
		return s
	}
	if flags&Fallback == 0 {
		return nil
	}
	for i := range size {
		if s := t[t.probe(key+(slot+i)%size, rec)]; s.Eligible() {
			return s
		}
	}
	return nil
}

func (t maglev) probe(key uint32, rec *Record) uint32 {
	slot := hsiphash(key, mhKey1) % uint32(len(t))
	if rec != nil {
		rec.Add(t[slot], fmt.Sprintf("slot %d", slot))
	}
	return slot
}

// change edits the list and, if that changed it, has the table built: now if wait
// is set or the table is small, else in the background.
func (m *mh) change(edit func() bool, wait bool) {
	m.mu.Lock()
	changed := edit()
	if changed {
		m.version++
	}
	version, n := m.version, len(m.list.slots)
	m.mu.Unlock()
	switch {
	case !changed:
	case wait || n <= kernelSlots:
		m.build(version)
	case m.background.CompareAndSwap(false, true):
		go m.buildLatest()
	}
}

// buildLatest builds in the background until the table has the latest version. At
// most one goroutine runs it.
func (m *mh) buildLatest() {
	for {
		version := m.latest()
		m.build(version)
		m.background.Store(false)
		if m.latest() == version || !m.background.CompareAndSwap(false, true) {
			return
		}
	}
}

func (m *mh) latest() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.version
}

// build returns once the table has the given version or a later one.
func (m *mh) build(version uint64) {
	m.building.Lock()
	defer m.building.Unlock()
	if m.built >= version {
		return
	}
	m.mu.Lock()
	version = m.version
	servers := make([]*RealServer, 0, len(m.list.slots))
	m.list.each(func(_ int, s *RealServer) bool {
		servers = append(servers, s)
		return true
	})
	m.mu.Unlock()
	table := newMaglev(servers)
	m.table.Store(&table)
	m.built = version
}

func (m *mh) Add(s *RealServer) {
	m.change(func() bool { _, _, ok := m.list.add(s); return ok }, false)
}

// AddAll adds servers and builds one table for all of them.
func (m *mh) AddAll(servers []*RealServer) {
	m.change(func() bool {
		for _, s := range servers {
			m.list.add(s)
		}
		return len(servers) > 0
	}, true)
}

func (m *mh) Remove(s *RealServer) {
	m.change(func() bool { _, ok := m.list.remove(s); return ok }, true)
}

func (m *mh) Update(s *RealServer) {
	m.change(func() bool {
		slot, ok := m.list.slots[s]
		return ok && m.list.edited(slot)
	}, false)
}

// Count does nothing: Pick looks at the overload state itself.
func (m *mh) Count(*RealServer) {}

package conntrack

import (
	"sync"
	"sync/atomic"
)

// Reader is a goroutine's access to a Table. Enter before a batch and Exit after
// it; in between, every *Conn it found stays valid. Do not block (in Recv, say)
// between Enter and Exit: the slots of ended connections are not free until all
// Readers have passed.
//
// A Reader belongs to one goroutine.
type Reader struct {
	epoch atomic.Uint64 // the table's epoch at Enter; 0 outside a batch
	_     [cacheLine - 8]byte

	t     *Table
	spare []uint32 // free slots taken in advance
	batch [batchMax]pending
	sink  uint32
}

// epochs counts reclamation epochs. A slot retired in one epoch is free once every
// Reader is outside a batch or has entered in a later epoch.
type epochs struct {
	now     atomic.Uint64
	mu      sync.Mutex // guards readers
	readers []*Reader
}

// Reader returns a new Reader of the table. Close it when its goroutine ends.
func (t *Table) Reader() *Reader {
	r := &Reader{t: t, spare: make([]uint32, 0, t.slots.portion)}
	t.epochs.mu.Lock()
	t.epochs.readers = append(t.epochs.readers, r)
	t.epochs.mu.Unlock()
	return r
}

// Table returns the Reader's table.
func (r *Reader) Table() *Table { return r.t }

// Enter begins a batch.
func (r *Reader) Enter() { r.epoch.Store(r.t.epochs.now.Load() + 1) }

// Exit ends a batch: the slots of connections it found may be reused from now on.
func (r *Reader) Exit() { r.epoch.Store(0) }

// Close ends the Reader's use of the table.
func (r *Reader) Close() {
	r.Exit()
	e := &r.t.epochs
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, x := range e.readers {
		if x == r {
			e.readers = append(e.readers[:i], e.readers[i+1:]...)
			break
		}
	}
	for _, slot := range r.spare {
		r.t.slots.release(r.t.due, slot)
	}
	r.spare = r.spare[:0]
}

// passed reports whether no Reader is in a batch it entered before epoch e.
func (e *epochs) passed(epoch uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.readers {
		if at := r.epoch.Load(); at != 0 && at-1 < epoch {
			return false
		}
	}
	return true
}

// slots knows which entries are free. Free slots are chained through the due
// array, whose words they do not need otherwise.
type slots struct {
	capacity uint32
	portion  int // how many a Reader allocates at once

	mu   sync.Mutex
	free list
	used atomic.Uint32 // slots 1 to used have been allocated at least once

	retiring  sync.Mutex
	retired   list // unlinked since waiting was last filled
	waiting   list // unlinked before epoch waitEpoch
	waitEpoch uint64
}

// list is a chain of slots through the due array.
type list struct{ first, last, n uint32 }

func (l *list) push(due []uint32, slot uint32) {
	atomic.StoreUint32(&due[slot], deadlineSpent|l.first)
	if l.first == 0 {
		l.last = slot
	}
	l.first = slot
	l.n++
}

func (l *list) pop(due []uint32) uint32 {
	slot := l.first
	l.first = atomic.LoadUint32(&due[slot]) &^ deadlineSpent
	l.n--
	return slot
}

// prepend puts all of x in front of l.
func (l *list) prepend(due []uint32, x list) {
	if x.n == 0 {
		return
	}
	if l.n == 0 {
		*l = x
		return
	}
	atomic.StoreUint32(&due[x.last], deadlineSpent|l.first)
	l.first = x.first
	l.n += x.n
}

// init sets the sizes. Readers of a small table allocate one slot at a time, so
// that none lies idle in a Reader while another finds the table full.
func (s *slots) init(capacity int) {
	s.capacity = uint32(capacity)
	s.portion = max(1, min(32, capacity/4096))
}

// allocSlot returns a free slot, 0 if there is none.
func (r *Reader) allocSlot() uint32 {
	if len(r.spare) == 0 {
		r.t.refill(r)
		r.t.wakeProvide()
	}
	n := len(r.spare)
	if n == 0 {
		return 0
	}
	slot := r.spare[n-1]
	r.spare = r.spare[:n-1]
	return slot
}

// returnSlot undoes allocSlot for a slot that was never linked.
func (r *Reader) returnSlot(slot uint32) {
	if len(r.spare) < cap(r.spare) {
		r.spare = append(r.spare, slot)
		return
	}
	r.t.slots.release(r.t.due, slot)
}

// refill gives a Reader as many free slots as it takes at once, fewer if there
// are no more or no more memory.
func (t *Table) refill(r *Reader) {
	s := &t.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	used := s.used.Load()
	for len(r.spare) < s.portion {
		switch {
		case s.free.n > 0:
			r.spare = append(r.spare, s.free.pop(t.due))
		case used < s.capacity && t.mem.holds(used+1):
			used++
			r.spare = append(r.spare, used)
		default:
			t.use(used)
			return
		}
	}
	t.use(used)
}

// use notes that slots 1 to n have been allocated, before any of them is filled.
// The lock of slots is held.
func (t *Table) use(n uint32) {
	if t.slots.used.Load() != n {
		t.slots.used.Store(n)
		atomic.StoreUint64(t.mem.used, usedWord(n))
	}
}

func (s *slots) release(due []uint32, slot uint32) {
	s.mu.Lock()
	s.free.push(due, slot)
	s.mu.Unlock()
}

// retire queues an unlinked slot to be freed later.
func (t *Table) retire(slot uint32) {
	t.slots.retiring.Lock()
	t.slots.retired.push(t.due, slot)
	t.slots.retiring.Unlock()
}

// reclaim frees the slots that no Reader can still see. Sweep calls it.
func (t *Table) reclaim() {
	s := &t.slots
	if s.waiting.n > 0 {
		if !t.epochs.passed(s.waitEpoch) {
			return
		}
		s.mu.Lock()
		s.free.prepend(t.due, s.waiting)
		s.mu.Unlock()
		s.waiting = list{}
	}
	s.retiring.Lock()
	s.waiting, s.retired = s.retired, list{}
	s.retiring.Unlock()
	if s.waiting.n > 0 {
		s.waitEpoch = t.epochs.now.Add(1)
	}
}

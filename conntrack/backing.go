package conntrack

import (
	"runtime/debug"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// backing is an array in memory that may be a file's. A page of a file exists
// once it is written, if the file system has room: if not, the process gets
// SIGBUS. So shared memory is made to exist before it is touched.
type backing struct {
	bytes  []byte
	shared bool
	until  atomic.Int64 // the first so many bytes exist, or are the kernel's concern
}

// backStep is how much memory, in bytes, an insert makes that finds none ready:
// 16 pages, some 10 µs (200 µs where a hypervisor has to find them).
const backStep = 64 << 10

func (b *backing) init(bytes []byte, shared bool) {
	b.bytes, b.shared = bytes, shared
	if !shared {
		b.until.Store(int64(len(bytes)))
	}
}

// reach has the first n bytes exist, and reports false if there is no room for
// them. Safe for concurrent use.
func (b *backing) reach(n int) bool {
	from := int(b.until.Load())
	if from >= n {
		return true
	}
	to := min(max(n, from+backStep), len(b.bytes))
	if to < n || !populate(b.bytes[from:to]) {
		return false
	}
	b.reached(to)
	return true
}

// reached notes that the first n bytes exist.
func (b *backing) reached(n int) {
	for was := b.until.Load(); was < int64(n) && !b.until.CompareAndSwap(was, int64(n)); {
		was = b.until.Load()
	}
}

// populate has the pages of b exist, and reports false if there is no room.
func populate(b []byte) bool {
	b = pages(b)
	for {
		switch unix.Madvise(b, unix.MADV_POPULATE_WRITE) {
		case nil:
			return true
		case unix.EAGAIN, unix.EINTR:
		case unix.EINVAL: // before Linux 5.14
			return touchAll(b)
		default:
			return false
		}
	}
}

// touchAll is populate for old kernels.
func touchAll(b []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { ok = recover() == nil }()
	for at := 0; at < len(b); at += pageSize {
		touch(b[at:])
	}
	return true
}

// exist has the memory exist for the connections from the first slot to before the
// second.
func (m *memory) exist(from, to int) bool {
	return populate(m.conns.bytes[from*ConnSize:to*ConnSize]) && populate(m.sums.bytes[from*4:to*4])
}

// holds reports whether there is memory for a connection in a slot.
func (m *memory) holds(slot uint32) bool {
	n := int(slot) + 1
	return m.note(m.conns.reach(n*ConnSize) && m.sums.reach(n*4))
}

// holdsEnding reports whether there is memory for the ending of a slot.
func (m *memory) holdsEnding(slot uint32) bool {
	return m.note(m.endings.reach(int(slot+1) * endingSize))
}

// note remembers whether there was room, and reports it.
func (m *memory) note(room bool) bool {
	if m.short.Load() == room {
		m.short.Store(!room)
	}
	return room
}

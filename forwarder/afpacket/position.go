package afpacket

import (
	"errors"
	"sync/atomic"
)

// position is how far a ring has been read. It lies in the ring's own memory, in bytes that
// the kernel and the frames leave alone, so whoever maps the ring next goes on at the right
// place, however the reader before ended.
type position struct {
	magic uint32
	tries uint32 // readers in a row that took frames here and were not done with them
	at    uint64 // as the kind of ring packs it
}

// positionMagic says that a position is there: the kernel clears a new ring.
const positionMagic = 0x75767331

const (
	// maxTries is how many readers may end at the same frames. The next skips them: they may
	// be what the readers died of.
	maxTries = 3
	// skipFrames is how many are skipped, as many as a worker takes at once.
	skipFrames = 64
	// doubtful is how many slots after the place where a reader took over are looked at twice:
	// the reader before may have read their copies from the queue.
	doubtful = 256
	// givingBack is a bit that the kernel never sets in the status of a receive ring, and that
	// its own status lacks. It is set in the first of the slots or blocks that a reader is
	// about to give back, the last first. So a reader that finds it there knows that the one
	// before had not finished, and one that does not, that it had, whatever came since.
	givingBack = 1 << 30
)

var errNoPosition = errors.New("the ring does not say how far it was read")

// begin begins a new ring.
func (r *reader) begin() {
	r.pos.store(0)
	atomic.StoreUint32(&r.pos.tries, 0)
	atomic.StoreUint32(&r.pos.magic, positionMagic)
}

func (p *position) valid() bool { return atomic.LoadUint32(&p.magic) == positionMagic }

func (p *position) load() uint64 { return atomic.LoadUint64(&p.at) }

func (p *position) store(at uint64) { atomic.StoreUint64(&p.at, at) }

// reader is what both kinds of ring keep for the position.
type reader struct {
	pos   *position
	first bool // frames have not been taken since this process took over, or have not been done with
}

// took notes that frames were lent out.
func (r *reader) took() {
	if r.first {
		r.first = false
		atomic.AddUint32(&r.pos.tries, 1)
	}
}

// progressed notes that frames were done with.
func (r *reader) progressed() {
	if r.pos.tries != 0 {
		atomic.StoreUint32(&r.pos.tries, 0)
	}
}

// tired reports whether several readers have ended at these frames.
func (r *reader) tired() bool { return atomic.LoadUint32(&r.pos.tries) >= maxTries }

package wire

import (
	"time"

	"uvs/forwarder/frame"
)

// Counters count the frames of one direction since the wire was put in. What arrived is
// Passed + Lost + QueueFull + Undelivered - Duplicated, and what is still under way.
type Counters struct {
	Arrived     uint64 `json:"arrived"`
	Passed      uint64 `json:"passed"` // sent on, also twice
	Lost        uint64 `json:"lost"`
	Reordered   uint64 `json:"reordered"` // overtaken
	Duplicated  uint64 `json:"duplicated"`
	Corrupted   uint64 `json:"corrupted"`
	QueueFull   uint64 `json:"queue_full"`  // the rate's queue had no room
	Overrun     uint64 `json:"overrun"`     // lost by the kernel before they arrived: the wire was too slow
	Undelivered uint64 `json:"undelivered"` // refused by the other side: no carrier, or too long for it; or the kernel could not describe its offload
}

const (
	// queueFor is how long the queue of a limited rate is, and queueFrames how many frames
	// of the usual MTU have room in it however slow it is.
	queueFor    = 100 * time.Millisecond
	queueFrames = 32
	fullFrame   = 1514 // bytes

	// maxUnderWay limits the memory for frames under way, in bytes: 25 ms at 10 Gbit/s.
	maxUnderWay = 32 << 20

	// holdFor is how long a frame waits to be overtaken if nothing follows.
	holdFor = 25 * time.Millisecond
)

// parcel is a frame under way: its offload facts, encoded, and its bytes.
type parcel struct {
	due  time.Time
	b    []byte
	copy bool // the same frame for the second time
}

// frame returns the bytes from the Ethernet header on.
func (p *parcel) frame() []byte { return p.b[frame.OffloadLen:] }

// fifo is a queue in memory that is used again.
type fifo struct {
	all   []*parcel
	first int
}

func (q *fifo) waiting() []*parcel { return q.all[q.first:] }

func (q *fifo) push(p *parcel) {
	if q.first > len(q.all)/2 { // most of it is gone: the rest moves to the front
		n := copy(q.all, q.waiting())
		clear(q.all[n:])
		q.all, q.first = q.all[:n], 0
	}
	q.all = append(q.all, p)
}

func (q *fifo) pop() *parcel {
	p := q.all[q.first]
	q.first++
	return p
}

// line is one direction of a wire: the frames under way, in the order in which they will
// arrive. It knows no clock: put and pop are told the time. It belongs to whoever holds the
// wire's lock.
type line struct {
	Impairment
	dice  dice
	count Counters

	under fifo      // under way; their times do not decrease
	held  []*parcel // wait to be overtaken, until heldUntil
	spare []*parcel // memory for others
	bytes int       // of all that are under way or held

	heldUntil time.Time
	free      time.Time // when the last frame has left the sender, at the line's rate
	last      time.Time // when the last frame arrives
}

// put sends a frame into the line at a time. It copies b.
func (l *line) put(at time.Time, facts *frame.Offload, b []byte) {
	l.count.Arrived++
	r := l.dice.roll(b)
	sent, room := l.send(at, len(b))
	switch {
	case !room || l.bytes+len(b) > maxUnderWay:
		l.count.QueueFull++
		return
	case r.loss < l.Loss:
		l.count.Lost++
		return
	}
	if l.last = later(l.last, sent.Add(l.delay(r.jitter))); r.reorder < l.Reorder {
		l.hold(l.parcels(facts, b, r))
		return
	}
	for _, p := range l.parcels(facts, b, r) {
		l.under.push(p)
	}
	for _, p := range l.held {
		if !p.copy {
			l.count.Reordered++
		}
	}
	l.release(l.last)
}

// refuse counts a frame that arrived and could not be read.
func (l *line) refuse() {
	l.count.Arrived++
	l.count.Undelivered++
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// send returns when a frame of n bytes has left its sender, and false if it finds no room
// in the sender's queue.
func (l *line) send(at time.Time, n int) (time.Time, bool) {
	if l.Rate == 0 {
		return at, true
	}
	begin := later(at, l.free)
	if begin.Sub(at) > max(queueFor, queueFrames*l.onTheLine(fullFrame)) {
		return at, false
	}
	l.free = begin.Add(l.onTheLine(n))
	return l.free, true
}

// onTheLine is how long n bytes take at the line's rate.
func (l *line) onTheLine(n int) time.Duration {
	return time.Duration(float64(n*8) / float64(l.Rate) * float64(time.Second))
}

// delay returns the delay of a frame, from where it is among all frames.
func (l *line) delay(among float64) time.Duration {
	return max(0, l.Delay+time.Duration((2*among-1)*float64(l.Jitter)))
}

// parcels returns what a frame becomes: one parcel or two, one of which may be corrupt.
func (l *line) parcels(facts *frame.Offload, b []byte, r roll) []*parcel {
	all := []*parcel{l.parcel(facts, b)}
	if r.duplicate < l.Duplicate {
		l.count.Duplicated++
		twin := l.parcel(facts, b)
		twin.copy = true
		all = append(all, twin)
	}
	if r.corrupt < l.Corrupt && corrupt(all[0].frame(), r.bit) {
		l.count.Corrupted++
	}
	return all
}

// parcel returns a frame to be under way, in memory that is free.
func (l *line) parcel(facts *frame.Offload, b []byte) *parcel {
	p := &parcel{}
	if n := len(l.spare); n > 0 {
		p, l.spare = l.spare[n-1], l.spare[:n-1]
	}
	p.due, p.copy = l.last, false
	p.b = append(append(p.b[:0], make([]byte, frame.OffloadLen)...), b...)
	facts.Encode(p.b)
	l.bytes += len(p.b)
	return p
}

// hold lets a frame wait until the next one has overtaken it.
func (l *line) hold(all []*parcel) {
	if len(l.held) == 0 {
		l.heldUntil = l.last.Add(holdFor)
	}
	l.held = append(l.held, all...)
}

// release lets the frames that were held arrive at a time.
func (l *line) release(due time.Time) {
	for _, p := range l.held {
		p.due = due
		l.under.push(p)
	}
	l.held = l.held[:0]
}

// next returns when the next frame arrives, and false if none is under way.
func (l *line) next() (time.Time, bool) {
	switch {
	case len(l.under.waiting()) > 0:
		return l.under.waiting()[0].due, true
	case len(l.held) > 0:
		return l.heldUntil, true
	}
	return time.Time{}, false
}

// pop returns the next frame that has arrived by now, or nil. The caller gives it back to
// done.
func (l *line) pop(now time.Time) *parcel {
	due, any := l.next()
	if !any || due.After(now) {
		return nil
	}
	if len(l.under.waiting()) == 0 {
		l.release(due)
		l.last = later(l.last, due)
	}
	return l.under.pop()
}

// done takes the memory of a frame back, and counts whether it was passed on.
func (l *line) done(p *parcel, passed bool) {
	if passed {
		l.count.Passed++
	} else {
		l.count.Undelivered++
	}
	l.bytes -= len(p.b)
	const enough = 1024
	if len(l.spare) < enough {
		l.spare = append(l.spare, p)
	}
}

// change gives the line another impairment. If that changes when frames arrive, those that
// are under way arrive now.
func (l *line) change(now time.Time, to Impairment) {
	was := l.Impairment
	l.Impairment = to
	if was.Delay != to.Delay || was.Jitter != to.Jitter || was.Rate != to.Rate || was.Reorder != to.Reorder {
		l.flush(now)
	}
}

// flush lets all frames arrive now.
func (l *line) flush(now time.Time) {
	l.release(now)
	for _, p := range l.under.waiting() {
		p.due = now
	}
	l.last, l.free = now, now
}

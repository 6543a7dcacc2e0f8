package porttest

import (
	"sync"

	"uvs/forwarder/frame"
)

// packet is a queued frame: a buffer with headroom and the facts about the frame.
type packet struct {
	buf     []byte
	length  int // bytes of the frame, from frame.Headroom on
	wire    int // length before the receiver cut it
	vlan    uint16
	offload frame.Offload
}

// queue is one direction of a Pipe.
type queue struct {
	mu     sync.Mutex
	filled sync.Cond
	ring   [Capacity]*packet
	head   int // next packet to take
	count  int
	lent   []*packet // held by the receiver until its next take
	free   []*packet
	lost   uint64
	closed bool
}

func newQueue() *queue {
	q := &queue{}
	q.filled.L = &q.mu
	return q
}

// put copies f to the end of the queue.
func (q *queue) put(f *frame.Frame) {
	q.putBytes(f.Bytes(), f.Len(), f.Info.VLAN, f.Offload)
}

func (q *queue) putBytes(b []byte, wire int, vlan uint16, o frame.Offload) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.count == Capacity {
		q.lost++
		return
	}
	p := q.blank(len(b))
	copy(p.buf[frame.Headroom:], b)
	p.length, p.wire, p.vlan, p.offload = len(b), wire, vlan, o
	q.ring[(q.head+q.count)%Capacity] = p
	q.count++
	q.filled.Signal()
}

// blank returns a packet with room for n bytes.
func (q *queue) blank(n int) *packet {
	var p *packet
	if last := len(q.free) - 1; last >= 0 {
		p, q.free = q.free[last], q.free[:last]
	} else {
		p = &packet{}
	}
	if len(p.buf) < frame.Headroom+n {
		p.buf = make([]byte, frame.Headroom+max(n, 2048))
	}
	return p
}

// take lends up to len(fs) packets to the receiver, after taking back those it
// had. It reports false if the queue is closed.
func (q *queue) take(fs []frame.Frame, index int, wait bool) (n int, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free = append(q.free, q.lent...)
	q.lent = q.lent[:0]
	for wait && q.count == 0 && !q.closed {
		q.filled.Wait()
	}
	if q.closed {
		return 0, false
	}
	for n < len(fs) && q.count > 0 {
		p := q.ring[q.head]
		q.head = (q.head + 1) % Capacity
		q.count--
		q.lent = append(q.lent, p)
		fs[n].Reset(p.buf, frame.Headroom, frame.Headroom+p.length, p.wire)
		fs[n].Ingress, fs[n].Offload, fs[n].Info.VLAN = index, p.offload, p.vlan
		n++
	}
	return n, true
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.filled.Broadcast()
}

func (q *queue) isClosed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}

func (q *queue) lostFrames() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost
}

package load

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/afpacket"
)

// generator sends a stream at its planned rate from a thread of its own.
type generator struct {
	port   *afpacket.Port
	stream *Stream
	plan   Plan // nil: as many as go
	begin  time.Time
	end    time.Time // valid when done is closed, as is planned

	limit   uint64 // frames to send in all; 0: until closed
	planned uint64 // frames that should have left when it last looked
	stop    atomic.Bool
	sent    atomic.Uint64
	gap     atomic.Int64  // nanoseconds
	tid     int           // of the sending thread, set before it sends
	spent   chan struct{} // closed when the limit is reached; the thread stays, for its clock
	done    chan struct{}
}

// tick is the longest sleep of a paced generator: a frame leaves at most this
// much later than planned, plus what the machine adds.
const tick = 100 * time.Microsecond

// newGenerator opens a generator on an interface of a node.
func newGenerator(node, link string, load Load, s *Stream) (*generator, error) {
	ifi, err := linkOf(node, link)
	if err != nil {
		return nil, err
	}
	g := &generator{stream: s, plan: s.plan, spent: make(chan struct{}), done: make(chan struct{})}
	err = inNode(node, func() (err error) {
		g.port, err = afpacket.Sender(afpacket.Config{Interface: ifi})
		return err
	})
	return g, err
}

// start begins to send. The planned times count from then.
func (g *generator) start() {
	ready := make(chan struct{})
	go func() {
		defer close(g.done)
		lockThread()
		g.tid, g.begin = unix.Gettid(), time.Now()
		close(ready)
		g.run()
		close(g.spent)
		for !g.stop.Load() {
			time.Sleep(time.Millisecond)
		}
	}()
	<-ready
}

func (g *generator) run() {
	defer func() { g.end = time.Now() }()
	last := g.begin
	for !g.stop.Load() && (g.limit == 0 || g.stream.next < g.limit) {
		now := time.Now()
		if d := int64(now.Sub(last)); d > g.gap.Load() {
			g.gap.Store(d)
		}
		n := g.due(now)
		if n == 0 {
			last = g.rest(now)
			continue
		}
		last = now
		fs := g.stream.Take(n, uint32(now.Sub(g.begin).Microseconds()))
		sent, err := g.port.Send(fs)
		g.sent.Add(uint64(sent))
		if err != nil {
			return
		}
	}
}

// due returns how many frames should have left by now and have not, at most a
// batch.
func (g *generator) due(now time.Time) int {
	if g.plan == nil {
		if g.limit > 0 {
			return int(min(g.limit-g.stream.next, Batch))
		}
		return Batch
	}
	g.planned = g.plan.Due(now.Sub(g.begin))
	if g.limit > 0 {
		g.planned = min(g.planned, g.limit)
	}
	if g.planned <= g.stream.next {
		return 0
	}
	return int(min(g.planned-g.stream.next, Batch))
}

// rest sleeps until the next frame is due, or a tick so that frames leave in
// small batches, and returns the time at which it meant to wake up.
func (g *generator) rest(now time.Time) time.Time {
	next := g.begin.Add(g.plan.At(g.stream.next))
	if wake := now.Add(tick); next.Before(wake) {
		next = wake
	}
	ts := unix.NsecToTimespec(int64(next.Sub(now)))
	_ = unix.Nanosleep(&ts, nil)
	return next
}

// close stops the generator.
func (g *generator) close() {
	g.stop.Store(true)
	<-g.done
	_ = g.port.Close()
}

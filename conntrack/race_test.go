package conntrack

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"uvs/forwarder/frame"
)

// concurrentUse is several workers, a sweeper and a listing that use one small table.
type concurrentUse struct {
	t                *testing.T
	table            *Table
	rules            *Rules
	clock            atomic.Uint32
	inserted, gone   atomic.Int64
	active, inactive atomic.Int64
}

// TestWorkersSweeperAndListingRunTogether lets workers insert, look up, advance
// and remove the same few thousand connections while others sweep and list.
// A connection that a worker finds must stay valid until the batch ends. At the end every
// connection must have left exactly once, and the server's counts must be zero.
func TestWorkersSweeperAndListingRunTogether(t *testing.T) {
	c := &concurrentUse{t: t, rules: DefaultRules()}
	c.rules.TCP[TCPClose], c.rules.TCP[TCPSynRecv] = 2, 5
	c.clock.Store(1)
	c.table = newTable(t, Config{Capacity: 3000, Gone: c.left})
	var workers, others sync.WaitGroup
	stop := make(chan struct{})
	for i := range uint64(4) {
		workers.Go(func() { c.work(i) })
	}
	others.Go(func() { until(stop, c.sweep) })
	lister := c.table.Reader()
	others.Go(func() { until(stop, func() { lister.Range(look) }) })
	workers.Wait()
	close(stop)
	others.Wait()
	for now, end := c.clock.Load(), c.clock.Load()+10000; now < end; now += 10 {
		c.table.Sweep(Tick(now), 1<<20)
	}
	if n := c.table.Len(); n != 0 || c.gone.Load() != c.inserted.Load() || c.active.Load() != 0 || c.inactive.Load() != 0 {
		t.Errorf("%d connections left, %d inserted, %d gone, counts %d and %d",
			n, c.inserted.Load(), c.gone.Load(), c.active.Load(), c.inactive.Load())
	}
}

func until(stop chan struct{}, f func()) {
	for {
		select {
		case <-stop:
			return
		default:
			f()
		}
	}
}

func look(c *Conn) bool {
	f, back := c.RequestFlow(), c.ReplyFlow()
	return f != back && c.StateName() != "" && c.Expires(1) >= 0
}

func (c *concurrentUse) left(n *Conn) {
	c.gone.Add(1)
	if n.Has(Inactive) {
		c.inactive.Add(-1)
	} else {
		c.active.Add(-1)
	}
}

func (c *concurrentUse) sweep() {
	if c.table.Sweep(Tick(c.clock.Load()), 64) {
		c.clock.Add(1)
	}
}

func (c *concurrentUse) work(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	r := c.table.Reader()
	defer r.Close()
	flows, found := make([]*frame.Flow, 16), make([]Found, 16)
	for range 1500 {
		for i := range flows {
			f := someFlow(rnd)
			flows[i] = &f
		}
		r.Enter()
		r.LookupBatch(flows, found)
		for i, f := range flows {
			c.packet(r, rnd, f, found[i])
		}
		r.Exit()
	}
}

func someFlow(rnd *rand.Rand) frame.Flow {
	n := nthConn(rnd.IntN(4000))
	if rnd.IntN(4) == 0 {
		return n.ReplyFlow()
	}
	return n.RequestFlow()
}

// packet treats one packet as a worker does, and checks what was found for it.
func (c *concurrentUse) packet(r *Reader, rnd *rand.Rand, f *frame.Flow, found Found) {
	now, n := Tick(c.clock.Load()), found.Conn
	if n == nil {
		if n = c.insert(r, f, now); n == nil {
			return
		}
	} else if got := flowIn(found); got != *f {
		c.t.Errorf("asked for %v, found %v", f.String(), got.String())
	}
	dir := Request
	if found.Reply {
		dir = Reply
	}
	events := []Event{tcpSyn, tcpAck, tcpAck, tcpAck, tcpFin, tcpRst}
	a, i := c.table.Advance(n, events[rnd.IntN(len(events))], dir, now, c.rules).Counts()
	c.active.Add(int64(a))
	c.inactive.Add(int64(i))
	if rnd.IntN(50) == 0 {
		r.Remove(n, now)
	}
}

// insert opens a connection with f as the request, whatever f was.
func (c *concurrentUse) insert(r *Reader, f *frame.Flow, now Tick) *Conn {
	n := nthConn(0)
	n.Client, n.Virtual, n.ClientPort, n.VirtualPort = f.Src16(), f.Dst16(), f.SrcPort(), f.DstPort()
	n.Real, n.RealPort = n.Virtual, 8080
	kept, inserted := r.Insert(&n, now)
	if inserted {
		c.inserted.Add(1)
		c.inactive.Add(1)
	}
	return kept
}

func flowIn(f Found) frame.Flow {
	if f.Reply {
		return f.Conn.ReplyFlow()
	}
	return f.Conn.RequestFlow()
}

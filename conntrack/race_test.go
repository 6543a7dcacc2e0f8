package conntrack

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"uvs/forwarder/frame"
)

// TestWorkersSweeperAndListingRunTogether lets several workers insert, look up,
// advance and remove the same few thousand connections while another goroutine
// sweeps and one lists. What a worker finds must be what it asked for until its
// batch ends, and in the end every connection must have gone exactly once, with
// the server's counts back at zero.
func TestWorkersSweeperAndListingRunTogether(t *testing.T) {
	var active, inactive, gone, inserted atomic.Int64
	var clock atomic.Uint32
	clock.Store(1)
	table := newTable(t, Config{Capacity: 3000, Gone: func(c *Conn) {
		gone.Add(1)
		if c.Has(Inactive) {
			inactive.Add(-1)
		} else {
			active.Add(-1)
		}
	}})
	rules := DefaultRules()
	rules.TCP[TCPClose], rules.TCP[TCPSynRecv] = 2, 5
	work := func(seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		r := table.Reader()
		defer r.Close()
		events := []Event{tcpSyn, tcpAck, tcpAck, tcpAck, tcpFin, tcpRst}
		flows, found := make([]*frame.Flow, 16), make([]Found, 16)
		for range 1500 {
			now := Tick(clock.Load())
			r.Enter()
			for i := range flows {
				c := numbered(rnd.IntN(4000))
				f := c.RequestFlow()
				if rnd.IntN(4) == 0 {
					f = c.ReplyFlow()
				}
				flows[i] = &f
			}
			r.LookupBatch(flows, found)
			for i, f := range flows {
				if c, isReply := r.Lookup(f); c != nil && !c.Gone() && found[i].Conn != nil && isReply != found[i].Reply {
					t.Error("directions differ")
				}
				c := found[i].Conn
				if c == nil {
					n := numbered(int(f.Src16()[13])<<16 | int(f.Src16()[14])<<8 | int(f.Src16()[15]))
					n.Client, n.ClientPort = f.Src16(), f.SrcPort()
					kept, fresh := r.Insert(&n, now)
					if c = kept; c == nil {
						continue
					}
					if fresh {
						inserted.Add(1)
						inactive.Add(1)
					}
				} else if got := flowIn(c, found[i].Reply); got != *f {
					t.Errorf("asked for %v, found %v", f.String(), got.String())
				}
				dir := Request
				if found[i].Reply {
					dir = Reply
				}
				a, n := table.Advance(c, events[rnd.IntN(len(events))], dir, now, rules).Counts()
				active.Add(int64(a))
				inactive.Add(int64(n))
				if rnd.IntN(50) == 0 {
					r.Remove(c, now)
				}
			}
			r.Exit()
		}
	}
	stop := make(chan struct{})
	var workers, others sync.WaitGroup
	for i := range 4 {
		workers.Go(func() { work(uint64(i)) })
	}
	others.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				if table.Sweep(Tick(clock.Load()), 64) {
					clock.Add(1)
				}
			}
		}
	})
	others.Go(func() {
		r := table.Reader()
		for {
			select {
			case <-stop:
				return
			default:
				r.Range(func(c *Conn) bool { _ = c.RequestFlow(); _ = c.StateName(); return true })
			}
		}
	})
	workers.Wait()
	close(stop)
	others.Wait()
	for now := Tick(clock.Load()); now < Tick(clock.Load())+Seconds(1000); now += 10 {
		table.Sweep(now, 1<<20)
	}
	if n := table.Len(); n != 0 || gone.Load() != inserted.Load() || active.Load() != 0 || inactive.Load() != 0 {
		t.Errorf("%d connections left, %d inserted, %d gone, counts %d and %d", n, inserted.Load(), gone.Load(), active.Load(), inactive.Load())
	}
}

func flowIn(c *Conn, isReply bool) frame.Flow {
	if isReply {
		return c.ReplyFlow()
	}
	return c.RequestFlow()
}

package afpacket

import (
	"testing"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/internal/fdstore"
	"uvs/internal/nstest"
)

// stopped is a ring whose reader ends while it gives back what it was lent.
type stopped struct {
	ring interface {
		announce()
		release(from, to int)
	}
	count    int
	from, to int // what is lent out
	filled   func(i int) bool
	mark     func()
}

func stop(r ring) stopped {
	switch r := r.(type) {
	case *blockRing:
		return stopped{ring: r, count: len(r.memory) / r.blockSize, from: r.held, to: r.head,
			filled: func(i int) bool { return loadBlockStatus(r.block(i))&unix.TP_STATUS_USER != 0 },
			mark:   func() { storeBlockStatus(r.block(r.held), loadBlockStatus(r.block(r.held))|givingBack) },
		}
	case *slotRing:
		return stopped{ring: r, count: len(r.offsets), from: r.held, to: r.head, filled: r.filled,
			mark: func() { storeStatus(r.slot(r.held), loadStatus(r.slot(r.held))|givingBack) },
		}
	}
	panic("a ring of a third kind")
}

// waiting returns how many slots or blocks the kernel has filled.
func (s stopped) waiting() (n int) {
	for i := range s.count {
		if s.filled(i) {
			n++
		}
	}
	return n
}

// moments are those in giveBack at which its reader may be killed.
var moments = []struct {
	name  string
	again bool // what was in its hands comes once more
	until func(s stopped)
}{
	{"before it", true, func(stopped) {}},
	{"after the mark", true, func(s stopped) { s.mark() }},
	{"before the first", false, func(s stopped) { s.ring.announce() }},
	{"after the first", false, func(s stopped) { s.ring.announce(); s.ring.release(s.to-1, s.to) }},
	{"before the last", false, func(s stopped) { s.ring.announce(); s.ring.release(s.from+1, s.to) }},
	{"after the last", false, func(s stopped) { s.ring.announce(); s.ring.release(s.from, s.to) }},
}

// However far a killed reader had come, and although the ring is full when the next one begins,
// that one and the kernel agree on where they are.
func TestAReaderKilledWhileItGivesBackLeavesAFullRingInOrder(t *testing.T) {
	for _, profile := range []Profile{Latency, Throughput} {
		for _, moment := range moments {
			t.Run(profile.String()+" "+moment.name, func(t *testing.T) {
				c := newTally(t)
				c.size = 1400
				cfg := Config{Profile: profile, Slots: 256, Store: fdstore.New()}
				defer cfg.Store.Close()
				dead := openKept(t, cfg, 1)[0]
				defer dead.Close()
				hands := c.handful(dead)
				moment.until(stop(dead.rx.ring))
				c.fill(dead)
				full := c.sent
				defer c.serve(openKept(t, cfg, 1))()
				nstest.Eventually(t, "the ring is read to its end", func() bool { c.send(1); return c.came(c.sent) })
				for range 70 { // more than one lap
					c.send(25)
					nstest.Eventually(t, "what comes later comes at once", func() bool { return c.came(c.sent) })
				}
				if !moment.again {
					hands = nil
				}
				c.ports = append(c.ports, dead)
				c.judgeFull(full, hands)
			})
		}
	}
}

// handful makes a port hold several slots or blocks, which do not begin with its first, and
// returns the numbers of the frames in them that it took last.
func (c *tally) handful(p *Port) (numbers []int) {
	fs := make([]frame.Frame, 64)
	recv := func() {
		n, err := p.Recv(fs)
		if err != nil {
			c.t.Fatal(err)
		}
		c.note(p, fs[:n])
	}
	c.send(10)
	for c.seen() < c.sent {
		recv()
	}
	p.rx.ring.giveBack()
	first := c.sent + 1
	for range 5 {
		s := stop(p.rx.ring)
		before := s.waiting()
		c.send(3)
		nstest.Eventually(c.t, "the kernel hands them over", func() bool { return s.waiting() > before })
	}
	recv()
	if s := stop(p.rx.ring); s.to-s.from < 3 {
		c.t.Fatalf("%d to %d are lent out, want three at least", s.from, s.to)
	}
	for i := first; i <= c.sent; i++ {
		if c.came(i) {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// fill sends until the ring of a port, which nobody reads, is full. It does not overrun the
// queue before the ring (net.core.netdev_max_backlog).
func (c *tally) fill(p *Port) {
	s := stop(p.rx.ring)
	for p.Stats().RingDrops < 100 {
		before := s.waiting()
		c.send(50)
		nstest.Eventually(c.t, "the kernel takes them", func() bool {
			return s.waiting() > before || p.Stats().RingDrops > 0
		})
	}
}

// judgeFull checks that of the first n frames, the last of which found the ring full, all that
// it held came once and in order, and those in the hands of the reader twice.
func (c *tally) judgeFull(n int, twice []int) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	want := map[int]int{}
	for _, number := range twice {
		want[number] = 1
	}
	held := 0
	for i := 1; i <= n && c.times[i] > 0; i++ {
		held = i
	}
	for i := 1; i <= n; i++ {
		if i <= held && c.times[i] != 1+want[i] || i > held && c.times[i] > 1 {
			c.t.Fatalf("frame %d came %d times; the ring held those up to %d, %v twice", i, c.times[i], held, twice)
		}
	}
	// Under load the kernel drops a single frame now and then, before a ring of blocks is full.
	if dropped := c.ringDrops(); len(c.times)+dropped < c.sent {
		c.t.Errorf("of %d frames %d came and %d are counted as dropped", c.sent, len(c.times), dropped)
	}
	if held < 200 || c.wrong > 0 {
		c.t.Errorf("the ring held %d frames; %d in the wrong order", held, c.wrong)
	}
}

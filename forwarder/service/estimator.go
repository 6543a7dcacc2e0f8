package service

import (
	"sync"
	"sync/atomic"
	"time"

	"uvs/forwarder/config"
)

// EstimatorStep is the time between two calls of Table.Tick: listings and
// rates move in these steps, as the kernel's do (ip_vs_est.c).
const EstimatorStep = 2 * time.Second

// Traffic is what is added to Counters at a time. Bytes are those of the IP
// packets, without link headers.
type Traffic struct {
	Conns, InPkts, OutPkts, InBytes, OutBytes uint64
}

// Counters count the traffic of one service, one real server or the whole
// director, and estimate its rates. Add is safe for concurrent use, takes no
// lock and is meant to be called once a batch. What Stats shows is the state of
// the last tick, as in IPVS. The zero value is ready to use.
type Counters struct {
	conns, inPkts, outPkts, inBytes, outBytes atomic.Uint64

	mu    sync.Mutex
	read  Traffic // the counters at the last tick
	zero  Traffic // what read was when the counters were zeroed
	rates rates
}

// Add counts t.
func (c *Counters) Add(t Traffic) {
	addIf(&c.conns, t.Conns)
	addIf(&c.inPkts, t.InPkts)
	addIf(&c.outPkts, t.OutPkts)
	addIf(&c.inBytes, t.InBytes)
	addIf(&c.outBytes, t.OutBytes)
}

func addIf(c *atomic.Uint64, n uint64) {
	if n != 0 {
		c.Add(n)
	}
}

// Load returns the counters of this moment since the director's start, which
// neither ticks nor zeroing change.
func (c *Counters) Load() Traffic {
	return Traffic{
		Conns:    c.conns.Load(),
		InPkts:   c.inPkts.Load(),
		OutPkts:  c.outPkts.Load(),
		InBytes:  c.inBytes.Load(),
		OutBytes: c.outBytes.Load(),
	}
}

// Tick copies the counters to Stats and updates the rates. It must be called every
// EstimatorStep.
func (c *Counters) Tick() {
	now := c.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rates.move(c.read, now)
	c.read = now
}

// Zero makes the counters of the last tick the new zero and forgets the rates.
// What came after that tick will still be counted, as in IPVS
// (ip_vs_ctl.c, ip_vs_zero_stats).
func (c *Counters) Zero() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.zero = c.read
	c.rates = rates{}
}

// Stats returns counters and rates as of the last tick.
func (c *Counters) Stats() config.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return config.Stats{
		Conns:    c.read.Conns - c.zero.Conns,
		InPkts:   c.read.InPkts - c.zero.InPkts,
		OutPkts:  c.read.OutPkts - c.zero.OutPkts,
		InBytes:  c.read.InBytes - c.zero.InBytes,
		OutBytes: c.read.OutBytes - c.zero.OutBytes,
		CPS:      c.rates.conns.perSecond(eventScale),
		InPPS:    c.rates.inPkts.perSecond(eventScale),
		OutPPS:   c.rates.outPkts.perSecond(eventScale),
		InBPS:    c.rates.inBytes.perSecond(byteScale),
		OutBPS:   c.rates.outBytes.perSecond(byteScale),
	}
}

// The kernel's fixed points (ip_vs_est.c): rates of connections and packets
// have 10 fractional bits, those of bytes 5.
const (
	eventScale = 10
	byteScale  = 5
)

type rates struct{ conns, inPkts, outPkts, inBytes, outBytes rate }

func (r *rates) move(last, now Traffic) {
	r.conns.move(now.Conns-last.Conns, eventScale)
	r.inPkts.move(now.InPkts-last.InPkts, eventScale)
	r.outPkts.move(now.OutPkts-last.OutPkts, eventScale)
	r.inBytes.move(now.InBytes-last.InBytes, byteScale)
	r.outBytes.move(now.OutBytes-last.OutBytes, byteScale)
}

// A rate is an exponentially weighted average in fixed point: each step it
// moves by a quarter of the distance to what the last two seconds show.
type rate uint64

func (r *rate) move(delta uint64, scale int) {
	seen := delta << (scale - 1) // the step is two seconds
	*r += rate((int64(seen) - int64(*r)) >> 2)
}

// perSecond rounds up from just above one half: 511/1024 or 15/32 are added
// before the fraction is cut off.
func (r rate) perSecond(scale int) uint64 {
	return (uint64(r) + 1<<(scale-1) - 1) >> scale
}

package service

import (
	"sync"
	"sync/atomic"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/state"
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
// the last tick, as in IPVS. All of it is in a Slot, where the next process finds it
// after a kill.
type Counters struct {
	at     *state.Slot
	number uint32 // of the Slot

	mu sync.Mutex // guards all but the counters themselves
}

// Words of a Slot, each the first of five: connections, packets and bytes.
const (
	slotCounters = 0
	slotRead     = 5  // the counters at the last tick
	slotZero     = 10 // what slotRead was when the counters were zeroed
	slotRates    = 15
	slotOverload = 20 // one word: 1 if the server is overloaded
	slotMSS      = 21 // one word each: of a service's Offer
	slotLacks    = 22
)

// newCounters returns counters from 0 in a Slot of their own.
func newCounters(of *state.State) *Counters {
	number, at := of.Slot()
	return &Counters{number: number, at: at}
}

// Add counts t.
func (c *Counters) Add(t Traffic) {
	addIf(&c.at[slotCounters], t.Conns)
	addIf(&c.at[slotCounters+1], t.InPkts)
	addIf(&c.at[slotCounters+2], t.OutPkts)
	addIf(&c.at[slotCounters+3], t.InBytes)
	addIf(&c.at[slotCounters+4], t.OutBytes)
}

func addIf(c *uint64, n uint64) {
	if n != 0 {
		atomic.AddUint64(c, n)
	}
}

// Load returns the counters of this moment since they began, which neither ticks nor
// zeroing change.
func (c *Counters) Load() (t Traffic) {
	t.Conns = atomic.LoadUint64(&c.at[slotCounters])
	t.InPkts = atomic.LoadUint64(&c.at[slotCounters+1])
	t.OutPkts = atomic.LoadUint64(&c.at[slotCounters+2])
	t.InBytes = atomic.LoadUint64(&c.at[slotCounters+3])
	t.OutBytes = atomic.LoadUint64(&c.at[slotCounters+4])
	return t
}

// traffic and setTraffic read and write what mu guards.
func (c *Counters) traffic(at int) Traffic {
	w := c.at[at:]
	return Traffic{w[0], w[1], w[2], w[3], w[4]}
}

func (c *Counters) setTraffic(at int, t Traffic) {
	copy(c.at[at:], []uint64{t.Conns, t.InPkts, t.OutPkts, t.InBytes, t.OutBytes})
}

// Tick copies the counters to Stats and updates the rates. It must be called every
// EstimatorStep.
func (c *Counters) Tick() {
	now := c.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	r := rates(c.traffic(slotRates))
	r.move(c.traffic(slotRead), now)
	c.setTraffic(slotRates, Traffic(r))
	c.setTraffic(slotRead, now)
}

// Zero makes the counters of the last tick the new zero and forgets the rates.
// What came after that tick will still be counted, as in IPVS
// (ip_vs_ctl.c, ip_vs_zero_stats).
func (c *Counters) Zero() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setTraffic(slotZero, c.traffic(slotRead))
	c.setTraffic(slotRates, Traffic{})
}

// Stats returns counters and rates as of the last tick.
func (c *Counters) Stats() config.Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	read, zero, r := c.traffic(slotRead), c.traffic(slotZero), c.traffic(slotRates)
	return config.Stats{
		Conns:    read.Conns - zero.Conns,
		InPkts:   read.InPkts - zero.InPkts,
		OutPkts:  read.OutPkts - zero.OutPkts,
		InBytes:  read.InBytes - zero.InBytes,
		OutBytes: read.OutBytes - zero.OutBytes,
		CPS:      rate(r.Conns).perSecond(eventScale),
		InPPS:    rate(r.InPkts).perSecond(eventScale),
		OutPPS:   rate(r.OutPkts).perSecond(eventScale),
		InBPS:    rate(r.InBytes).perSecond(byteScale),
		OutBPS:   rate(r.OutBytes).perSecond(byteScale),
	}
}

// believable reports whether the counters of an earlier process can be true: none goes
// back, and none is beyond what a machine could count.
func (c *Counters) believable() bool {
	for i := range slotRead {
		now, read, zero := c.at[slotCounters+i], c.at[slotRead+i], c.at[slotZero+i]
		if zero > read || read > now || now > mostCounted || c.at[slotRates+i] > mostCounted {
			return false
		}
	}
	return c.at[slotOverload] <= 1 && c.at[slotMSS] < 1<<16 && c.at[slotLacks] < 1<<8
}

// mostCounted is more than a director counts: 2^60 bytes are three years at 100 Gbit/s.
const mostCounted = 1 << 60

// The kernel's fixed points (ip_vs_est.c): rates of connections and packets
// have 10 fractional bits, those of bytes 5.
const (
	eventScale = 10
	byteScale  = 5
)

// rates are a rate for each of the counters.
type rates Traffic

func (r *rates) move(last, now Traffic) {
	move(&r.Conns, now.Conns-last.Conns, eventScale)
	move(&r.InPkts, now.InPkts-last.InPkts, eventScale)
	move(&r.OutPkts, now.OutPkts-last.OutPkts, eventScale)
	move(&r.InBytes, now.InBytes-last.InBytes, byteScale)
	move(&r.OutBytes, now.OutBytes-last.OutBytes, byteScale)
}

func move(r *uint64, delta uint64, scale int) {
	seen := delta << (scale - 1) // the step is two seconds
	*r += uint64((int64(seen) - int64(*r)) >> 2)
}

// A rate is an exponentially weighted average in fixed point: each step it
// moves by a quarter of the distance to what the last two seconds show.
type rate uint64

// perSecond rounds up from just above one half: 511/1024 or 15/32 are added
// before the fraction is cut off.
func (r rate) perSecond(scale int) uint64 {
	return (uint64(r) + 1<<(scale-1) - 1) >> scale
}

package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"
)

// Recover offers more than a forwarder can take, for a while, or stops it for a
// moment, and looks how long the harm lasts.
var Recover = Measure{Name: "recovery", gated: true, untwinned: true, estimate: recoveryEstimate, unsupported: needsUDP, steps: recoverySteps}

// RecoveryOptions is what Recover measures.
type RecoveryOptions struct {
	Cases    []string      // "overload", "stall"
	Factor   float64       // offered, of the capacity
	Back     float64       // before and after, of the capacity
	Before   time.Duration // at that rate
	Overload time.Duration
	After    time.Duration // at that rate again
	Burners  int           // threads that want the forwarder's CPU during the overload
	Stall    time.Duration // for which the forwarder is stopped
	Rate     float64       // frames a second meanwhile
}

// RecoveryTrial is one overload or stall.
type RecoveryTrial struct {
	Target   string  `json:"target"`
	Round    int     `json:"round"`
	Case     string  `json:"case"`
	Capacity float64 `json:"capacity,omitempty"` // frames a second that arrived of as many as went
	Offered  float64 `json:"offered"`            // during the overload, frames a second
	Usual    float64 `json:"usual"`              // before and after
	Burners  int     `json:"hogs,omitempty"`

	Lasted    time.Duration      `json:"lasted_ns"`    // the overload or stall
	Loss      float64            `json:"loss"`         // share lost while it lasted, and by it
	LostAtAll int                `json:"lost"`         // frames of those followed, all in all
	Earlier   int                `json:"lost_earlier"` // of them, before it began
	LastLoss  time.Duration      `json:"last_loss_ns"` // after its end, until the last frame that was lost; 0: none was
	Back      time.Duration      `json:"back_ns"`      // until the latency was what it had been; negative: never
	P50       float64            `json:"p50_us"`       // before
	P99       float64            `json:"p99_us"`
	Worst     float64            `json:"worst_us"` // in all
	Losses    map[string]uint64  `json:"losses,omitempty"`
	Timeline  []RecoveryInterval `json:"timeline"`
	Faults    []string           `json:"faults,omitempty"`
}

// RecoveryInterval is what became of the frames followed that were to leave in a short time.
type RecoveryInterval struct {
	At   float64 `json:"at_ms"` // after the end of the overload, or the beginning of the stall
	Sent int     `json:"sent"`
	Lost int     `json:"lost"`
	P50  float64 `json:"p50_us"`
	Max  float64 `json:"max_us"`
}

// recoveryInterval is the length of a Pulse.
const recoveryInterval = 10 * time.Millisecond

// Verdict is INVALID for wrong frames, "disturbed" where frames were lost before
// anything was done, and "no overload" or "no loss" where there was nothing to
// recover from.
func (r *RecoveryTrial) Verdict() string {
	switch {
	case len(r.Faults) > 0:
		return "INVALID"
	case r.Earlier > 0:
		return "disturbed"
	case r.Case == "overload" && r.Loss < 0.01:
		return "no overload"
	case r.Case == "stall" && r.LostAtAll == r.Earlier:
		return "no loss"
	}
	return "valid"
}

func recoverySteps(o *Options) []step {
	var all []step
	for _, c := range o.Recovery.Cases {
		all = append(all, step{name: c, run: func(_ context.Context, t *run) error {
			run := t.overload
			if c == "stall" {
				run = t.stall
			}
			r, err := run()
			if err == nil && r != nil {
				t.report.Recoveries = append(t.report.Recoveries, *r)
			}
			return err
		}})
	}
	return all
}

// ceilingShare is how much of what the generator can send a plan may ask for: one
// that falls behind would go on when the overload is over.
const ceilingShare = 0.9

// overload offers more than the capacity, as far as the generator can.
func (t *run) overload() (*RecoveryTrial, error) {
	o := &t.options.Recovery
	most, err := t.udp(t.target, load.Load{Size: 64, Flows: followed}, t.options.Warm, t.options.Window, sampled)
	if err != nil {
		return nil, err
	}
	ceiling := float64(most.Sent) / most.Sending.Seconds()
	r := &RecoveryTrial{Case: "overload", Capacity: most.Rate(), Burners: o.Burners, Lasted: o.Overload}
	r.Usual = max(o.Back*min(r.Capacity, ceiling), idleRate)
	r.Offered = max(min(o.Factor*r.Capacity, ceilingShare*ceiling), r.Usual)
	phases := []load.Phase{{Rate: r.Usual, For: o.Before}, {Rate: r.Offered, For: o.Overload}, {Rate: r.Usual, For: o.After}}
	c := load.RecoveryCall{Phases: phases, Burners: o.Burners}
	return r, t.follow(r, &c, o.Before, o.Before+o.Overload, 0)
}

// stall stops the forwarder's process for a moment. The kernel's forwarding
// cannot be stopped so.
func (t *run) stall() (*RecoveryTrial, error) {
	o := &t.options.Recovery
	if t.lanes[t.target.Process()].pid == 0 {
		t.report.Note(fmt.Sprintf("%v: no process that could be stopped", t.target))
		return nil, nil
	}
	r := &RecoveryTrial{Case: "stall", Offered: o.Rate, Usual: o.Rate}
	length := o.Before + o.Stall + o.After
	c := load.RecoveryCall{Phases: []load.Phase{{Rate: o.Rate, For: length}}, Stall: o.Stall, At: o.Before}
	return r, t.follow(r, &c, o.Before, o.Before+o.Stall, o.Before)
}

// followed is the number of flows, and followRate how many frames a second are
// followed at most.
const (
	followed   = 1024
	followRate = 25_000
)

// follow runs a load and makes the figures. The harm is done between two times;
// the timeline counts from zero, or from the end of the harm.
func (t *run) follow(r *RecoveryTrial, c *load.RecoveryCall, from, until, zero time.Duration) error {
	lane := t.lanes[t.target.Process()]
	r.Target, r.Round = t.target.String(), t.round
	c.UDPCall = t.udpCall(t.target, load.Load{Size: 64, Flows: followed})
	c.Every, c.CPU = nth(r.Offered), t.cpus.Forwarder
	before, err := t.counters(lane, t.target)
	if err != nil {
		return err
	}
	var p load.Followed
	if err := t.calls.Call("Follow", *c, &p); err != nil {
		return err
	}
	after, err := t.counters(lane, t.target)
	if err != nil {
		return err
	}
	r.Losses, r.Faults = losses(before, after), p.Faults
	if p.Stopped > 0 {
		r.Lasted, until = p.Stopped, from+p.Stopped
	}
	if zero == 0 {
		zero = until
	}
	r.judge(&followedFrames{plan: c.Phases, every: c.Every, latency: p.Latency}, from, until, zero)
	return nil
}

// nth is one in how many frames is followed at a rate: a power of two, which
// divides the number of flows.
func nth(rate float64) int {
	n := 1
	for rate/float64(n) > followRate && n < followed {
		n *= 2
	}
	return n
}

// followedFrames is the frames that were followed.
type followedFrames struct {
	plan    load.Plan
	every   int
	latency []int32
}

// judge makes the figures.
func (r *RecoveryTrial) judge(f *followedFrames, from, until, zero time.Duration) {
	var calm []int32
	sent, lost := 0, 0
	for i, l := range f.latency {
		at := f.plan.At(uint64(i * f.every))
		switch {
		case at >= from && at < until:
			sent++
			if l < 0 {
				lost++
			}
		case at >= until && l < 0:
			r.LastLoss = at - until
		case at < from && l >= 0:
			calm = append(calm, l)
		case l < 0:
			r.Earlier++
		}
		if l < 0 {
			r.LostAtAll++
		}
		r.Worst = max(r.Worst, float64(l))
	}
	r.Loss = share(lost, sent)
	r.P50, r.P99 = at32(calm, 0.5), at32(calm, 0.99)
	r.Timeline = f.timeline(zero)
	r.Back = back(r.Timeline, float64(until-zero)/1e6, r.P99)
}

// at32 is a quantile, 0 of nothing.
func at32(v []int32, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return float64(s[int(q*float64(len(s)-1))])
}

// timeline sorts the frames by the time at which they were to leave.
func (f *followedFrames) timeline(zero time.Duration) []RecoveryInterval {
	var all []RecoveryInterval
	var now []int32
	flush := func() {
		if len(all) == 0 {
			return
		}
		p := &all[len(all)-1]
		p.P50, p.Max = at32(now, 0.5), at32(now, 1)
		now = now[:0]
	}
	last := time.Duration(-1)
	for i, l := range f.latency {
		slot := f.plan.At(uint64(i*f.every)) / recoveryInterval
		if slot != last {
			flush()
			all, last = append(all, RecoveryInterval{At: float64(slot*recoveryInterval-zero) / 1e6}), slot
		}
		p := &all[len(all)-1]
		p.Sent++
		if l < 0 {
			p.Lost++
			continue
		}
		now = append(now, l)
	}
	flush()
	return all
}

// calmIntervals is how many pulses in a row have to be as before until the latency
// counts as back.
const calmIntervals = 5

// back is how long after the end of the harm, at which the timeline shows until,
// the median latency of pulses without loss is no longer above what 99 of 100
// frames had before; negative if it never is.
func back(all []RecoveryInterval, until, limit float64) time.Duration {
	calm := 0
	for _, p := range all {
		if p.At < until {
			continue
		}
		if p.Lost > 0 || p.P50 > limit {
			calm = 0
			continue
		}
		if calm++; calm == calmIntervals {
			begin := p.At - (calmIntervals-1)*float64(recoveryInterval.Milliseconds())
			return time.Duration((begin - until) * 1e6)
		}
	}
	return -1
}

// RecoveryResults is the section of Recover.
type RecoveryResults struct {
	Recoveries []RecoveryTrial `json:"recoveries,omitempty"`
}

func (s *RecoveryResults) summarize(*Report) {}

func (s *RecoveryResults) series() []report.Series {
	var all report.Collection
	for i := range s.Recoveries {
		r := &s.Recoveries[i]
		if v := r.Verdict(); v == "no overload" || v == "disturbed" {
			continue
		}
		add := func(what, unit string, v float64) {
			all.Add(report.Series{Target: r.Target, Name: r.Case + "/" + what, Unit: unit, Less: true}, r.Round, v)
		}
		add("loss", report.ShareUnit, r.Loss)
		add("last-loss", "ms", float64(r.LastLoss)/1e6)
		add("latency-back", "ms", float64(r.Back)/1e6)
	}
	return all
}

func (s *RecoveryResults) tables(r *Report) []report.Table {
	if len(s.Recoveries) == 0 {
		return nil
	}
	t := report.Table{
		Title: "Recovery",
		Note: "after the end of an overload or stall: until the last frame that was lost was to leave, and until the latency was as before " +
			"(its median within what 99 of 100 frames had); loss while it lasted",
		Head: []string{"target", "case", "capacity", "offered", "usual", "for ms", "lost meanwhile", "lost in all", "last loss ms", "latency back ms",
			"p50 before µs", "p99", "worst", "lost as", "verdict"},
	}
	for i := range s.Recoveries {
		t.Rows = append(t.Rows, s.Recoveries[i].cells())
	}
	return []report.Table{t}
}

func (r *RecoveryTrial) cells() []string {
	milli := func(t time.Duration) string { return fmt.Sprintf("%.1f", float64(t)/1e6) }
	capacity, back := "-", "never"
	if r.Capacity > 0 {
		capacity = fmt.Sprintf("%.0fk", r.Capacity/1e3)
	}
	if r.Back >= 0 {
		back = milli(r.Back)
	}
	lost := 0
	for _, p := range r.Timeline {
		lost += p.Sent
	}
	return []string{r.Target, r.Case, capacity, fmt.Sprintf("%.0fk", r.Offered/1e3), fmt.Sprintf("%.0fk", r.Usual/1e3), milli(r.Lasted),
		inPercent(r.Loss), fmt.Sprintf("%.2f %%", 100*share(r.LostAtAll, lost)), milli(r.LastLoss), back,
		fmt.Sprintf("%.0f", r.P50), fmt.Sprintf("%.0f", r.P99), fmt.Sprintf("%.0f", r.Worst), formatCounters(r.Losses),
		strings.Join(append([]string{r.Verdict()}, r.Faults...), ": ")}
}

package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"
)

// Open opens new connections as fast as the generator can, or at a rate, beside
// many that live on: each frame is the first of its flow.
var Open = Measure{Name: "open", gated: true, estimate: openEstimate, unsupported: needsUDP, steps: openSteps}

// Hold lets directors hold ever more connections and looks at their memory.
var Hold = Measure{Name: "hold", gated: true, untwinned: true, estimate: holdEstimate, unsupported: needsDirector, steps: holdSteps}

// ConnOptions is what Open and Hold measure.
type ConnOptions struct {
	First []string // what opens a connection: "udp", "syn"
	Live  int      // connections that live on meanwhile
	Hold  []int    // how many to hold, in turn, ascending
	Rate  float64  // connections a second to open: for Open, 0 is as many as go
	Fill  float64  // frames a second while filling up and asking after each

	Duration time.Duration // of Sustain
}

// OpenTrial is one trial of new connections.
type OpenTrial struct {
	load.Trial
	Kind   string            `json:"kind"`
	Live   uint64            `json:"live"`  // connections when it began
	After  uint64            `json:"after"` // and when it ended; 0: the target does not tell
	Losses map[string]uint64 `json:"losses,omitempty"`
}

// OpenRow is one line of the table.
type OpenRow struct {
	Target string          `json:"target"`
	Kind   string          `json:"kind"`
	Rate   float64         `json:"rate"`       // offered a second; 0: as many as went
	Opened report.Estimate `json:"per_second"` // connections
	Cost   report.Estimate `json:"cpu_ns_each"`
	Sender report.Estimate `json:"sender_ns_each"`
	Loss   report.Estimate `json:"loss"`
	Live   uint64          `json:"live"` // the fewest at the beginning of a trial
	After  uint64          `json:"after"`
	Losses string          `json:"losses,omitempty"`
	Faults []string        `json:"faults,omitempty"`
}

// HoldTrial is a director with so many connections.
type HoldTrial struct {
	Target   string   `json:"target"`
	Round    int      `json:"round"`
	Wanted   int      `json:"wanted"`
	Held     uint64   `json:"held"`              // that the director counts
	Answered uint64   `json:"answered"`          // frames that came through, one for each
	Tries    int      `json:"tries"`             // until every one did, or none was left
	Idle     uint64   `json:"idle_bytes"`        // resident memory with none
	Resident uint64   `json:"resident_bytes"`    // and with these
	Each     float64  `json:"bytes_each"`        // the difference, for each
	Cost     float64  `json:"cpu_ns_each"`       // to open one
	Probe    float64  `json:"cpu_ns_per_packet"` // of a frame for each, in turn
	Faults   []string `json:"faults,omitempty"`
}

func openSteps(o *Options) []step {
	var all []step
	for _, kind := range o.Connections.First {
		all = append(all, step{name: "new connections by " + kind, run: func(_ context.Context, t *run) error {
			p, err := t.open(kind)
			if err == nil {
				t.report.Openings = append(t.report.Openings, p)
			}
			return err
		}})
	}
	return all
}

// open measures new connections of one kind.
func (t *run) open(kind string) (OpenTrial, error) {
	o, r := t.options, t.lanes[t.target.Process()]
	p := OpenTrial{Kind: kind}
	offer := load.Load{Size: 64, SYN: kind == "syn"}
	if err := t.openLive(r, offer); err != nil {
		return p, err
	}
	if err := t.timeout(r, t.target, 1); err != nil {
		return p, err
	}
	before, err := t.counters(r, t.target)
	if err != nil {
		return p, err
	}
	offer.First, offer.Flows, offer.Rate = uint32(o.Connections.Live)+r.used, openFlows, o.Connections.Rate
	p.Trial, err = t.oncePerFlow(t.target, offer, o.Warm, o.Window, sampled)
	if err != nil {
		return p, err
	}
	r.used = (r.used + uint32(p.Sent)) % (1 << 27)
	after, err := t.counters(r, t.target)
	p.Measure, p.Round, p.Live, p.After = "open", t.round, before["connections"], after["connections"]
	p.Losses = losses(before, after)
	return p, err
}

// openFlows is how many connections a trial may open: some seconds of all that a
// generator can send.
const openFlows = 1 << 23

// openLive opens the connections that live on. They are opened again before each
// trial, which refreshes those that are there.
func (t *run) openLive(r *running, offer load.Load) error {
	live := t.options.Connections.Live
	if live == 0 {
		return nil
	}
	if err := t.timeout(r, t.target, 300); err != nil {
		return err
	}
	offer.Flows, offer.Rate = live, t.options.Connections.Fill
	for range fillTries {
		trial, err := t.oncePerFlow(t.target, offer, 0, offer.Duration(), sampled)
		if err != nil || trial.Received >= uint64(live) {
			return err
		}
		offer.Rate /= 2
	}
	return nil
}

// fillTries is how often all connections are tried while some do not come through.
const fillTries = 4

// oncePerFlow runs a trial with at most one frame of each flow.
func (b *testbed) oncePerFlow(t load.Target, offer load.Load, warm, window time.Duration, sample int) (load.Trial, error) {
	c := b.udpCall(t, offer)
	c.Warm, c.Window, c.Sample, c.OncePerFlow = warm, window, sample, true
	var trial load.Trial
	err := b.calls.Call("UDP", c, &trial)
	trial.Target = t.String()
	return trial, err
}

// timeout sets after how many seconds without a packet a UDP connection is
// forgotten. SYN has a time of its own in a director, 60 s.
func (b *testbed) timeout(r *running, t load.Target, seconds int) error {
	if t.IsDirector() {
		_, err := b.lab.Exec(r.node, "ipvsadm", "--set", "0", "0", fmt.Sprint(seconds))
		return err
	}
	if t.Method != load.DNAT {
		return nil
	}
	for _, k := range []string{"udp_timeout", "udp_timeout_stream", "tcp_timeout_syn_sent"} {
		c := load.SysctlCall{Node: r.node, Key: "net.netfilter.nf_conntrack_" + k, Value: fmt.Sprint(seconds)}
		if err := b.calls.Call("Sysctl", c, &struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// counters are a director's, by name; none of what is not ours.
func (b *testbed) counters(r *running, t load.Target) (map[string]uint64, error) {
	all := map[string]uint64{}
	if !t.IsDirector() {
		return all, nil
	}
	out, err := b.lab.Exec(r.node, "uvs", "stats", "--json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &all)
	}
	return all, err
}

// losses are the counters of frames that did not get on, as far as they grew.
func losses(before, after map[string]uint64) map[string]uint64 {
	grown := map[string]uint64{}
	for name, n := range after {
		lost := strings.HasPrefix(name, "drop-") || name == "port-ring-drops" || name == "port-cut" || name == "port-refused"
		if lost && n > before[name] {
			grown[name] = n - before[name]
		}
	}
	return grown
}

// holdSteps is one step for all numbers: targets may share a process, whose
// memory must be one's own while it is filled up.
func holdSteps(o *Options) []step {
	return []step{{name: fmt.Sprint(o.Connections.Hold, " connections"), run: func(ctx context.Context, t *run) error {
		r := t.lanes[t.target.Process()]
		if err := t.timeout(r, t.target, 3600); err != nil {
			return err
		}
		var idle usage
		if err := t.readUsage(r, &idle); err != nil {
			return err
		}
		opened := 0
		for _, n := range o.Connections.Hold {
			h, err := t.hold(ctx, r, idle, opened, n)
			if err != nil || ctx.Err() != nil {
				return err
			}
			t.report.Holdings = append(t.report.Holdings, h)
			opened = n
		}
		return nil
	}}}
}

// usage is what a director has.
type usage struct{ connections, resident uint64 }

// readUsage takes stock.
func (t *run) readUsage(r *running, s *usage) error {
	counters, err := t.counters(r, t.target)
	if err != nil {
		return err
	}
	s.connections = counters["connections"]
	return t.calls.Call("Resident", r.pid, &s.resident)
}

// heldFirst is the first flow to hold: gates have used some before.
const heldFirst = 1 << 16

// hold fills a director up from some connections to n, sends one more frame for
// each, and looks at its memory.
func (t *run) hold(ctx context.Context, r *running, idle usage, opened, n int) (HoldTrial, error) {
	h := HoldTrial{Target: t.target.String(), Round: t.round, Wanted: n, Idle: idle.resident}
	offer := load.Load{Size: 64, First: heldFirst + uint32(opened), Flows: n - opened, Rate: t.options.Connections.Fill}
	fill, err := t.oncePerFlow(t.target, offer, 0, offer.Duration(), sampled)
	if err != nil {
		return h, err
	}
	h.Cost, h.Faults = fill.CPUPerPacket(), fill.Faults
	offer = load.Load{Size: 64, First: heldFirst, Flows: n, Rate: t.options.Connections.Fill}
	for ; h.Tries < fillTries && h.Answered < uint64(n) && ctx.Err() == nil; h.Tries++ {
		probe, err := t.oncePerFlow(t.target, offer, 0, offer.Duration(), sampled)
		if err != nil {
			return h, err
		}
		h.Answered, h.Probe = max(h.Answered, probe.Received), probe.CPUPerPacket()
		h.Faults = append(h.Faults, probe.Faults...)
		offer.Rate /= 2 // what was too fast for this machine may go more slowly
	}
	var now usage
	if err := t.readUsage(r, &now); err != nil {
		return h, err
	}
	h.Held, h.Resident = now.connections-idle.connections, now.resident
	if h.Held > 0 {
		h.Each = (float64(now.resident) - float64(idle.resident)) / float64(h.Held)
	}
	return h, nil
}

// Verdict is INVALID for wrong frames, incomplete if not all connections could be
// opened and answered.
func (h *HoldTrial) Verdict() string {
	switch {
	case len(h.Faults) > 0:
		return "INVALID"
	case h.Held < uint64(h.Wanted) || h.Answered < uint64(h.Wanted):
		return "incomplete"
	}
	return "valid"
}

// ConnResults is the section of Open and Hold.
type ConnResults struct {
	Openings    []OpenTrial `json:"openings,omitempty"`
	OpeningRows []OpenRow   `json:"opening_rows,omitempty"`
	Holdings    []HoldTrial `json:"holdings,omitempty"`
}

func (c *ConnResults) summarize(r *Report) {
	type key struct {
		target, kind string
		rate         float64
	}
	groups := map[key][]*OpenTrial{}
	var order []key
	for i := range c.Openings {
		p := &c.Openings[i]
		k := key{p.Target, p.Kind, p.Load.Rate}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], p)
	}
	c.OpeningRows = nil
	for _, k := range order {
		row := openRow(groups[k])
		for i := range r.Gates {
			if g := &r.Gates[i]; g.Target == k.target && !g.Valid() {
				row.Faults = append(row.Faults, g.Faults...)
			}
		}
		c.OpeningRows = append(c.OpeningRows, row)
	}
}

func openRow(trials []*OpenTrial) OpenRow {
	row := OpenRow{Target: trials[0].Target, Kind: trials[0].Kind, Rate: trials[0].Load.Rate, Live: math.MaxUint64}
	var opened, cost, sender, loss []float64
	lost := map[string]uint64{}
	for _, p := range trials {
		opened, loss = append(opened, p.Rate()), append(loss, p.Loss())
		cost = appendNonZero(cost, p.CPUPerPacket())
		if p.Arrived > 0 {
			sender = append(sender, float64(p.SenderNS.Nanoseconds())/float64(p.Arrived))
		}
		row.Live, row.After = min(row.Live, p.Live), max(row.After, p.After)
		for name, n := range p.Losses {
			lost[name] += n
		}
		if !p.Valid() {
			row.Faults = append(row.Faults, p.Faults...)
		}
	}
	row.Opened, row.Cost, row.Sender, row.Loss = report.NewEstimate(opened), report.NewEstimate(cost), report.NewEstimate(sender), report.NewEstimate(loss)
	row.Losses = formatCounters(lost)
	return row
}

// Verdict is "valid", or "INVALID" for a target that did not forward rightly.
func (r *OpenRow) Verdict() string {
	if len(r.Faults) > 0 {
		return "INVALID"
	}
	return "valid"
}

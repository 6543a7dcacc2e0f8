package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Quick offers UDP frames: packets a second and CPU time of each.
var Quick = Measure{Name: "quick", gated: true, unfit: noUDP, steps: quickSteps}

// noUDP refuses proxies of TCP.
func noUDP(t Target) string {
	if t.Method == HAProxy || t.Method == Nginx {
		return fmt.Sprintf("%v: carries TCP only", t)
	}
	return ""
}

func quickSteps(o *Options) []step {
	var all []step
	for _, load := range o.Loads {
		all = append(all, step{
			name: fmt.Sprintf("%s of %s bytes, %d flows", load.direction(), load.SizeName(), load.Flows),
			run: func(_ context.Context, t *turn) error {
				if load.Reply && !t.target.repliesPass() {
					t.report.note(fmt.Sprintf("%v: replies do not pass it", t.target))
					return nil
				}
				if err := t.prepare(load); err != nil {
					return err
				}
				trial, err := t.udp(t.target, load, t.options.Warm, t.options.Window, sampled)
				if err == nil {
					trial.Measure, trial.Round = "quick", t.round
					t.report.Trials = append(t.report.Trials, trial)
				}
				return err
			},
		})
	}
	return all
}

// fewFlows are opened by the warm-up of a trial, which sends each of them.
const fewFlows = 10_000

// prepare opens the connections of a load with many flows, once for each target.
// The warm-up sends each flow, but as fast as it goes: among a million many a
// first frame is lost, and its connection would be opened within a window, at
// twice the cost of a packet of an established one.
func (t *turn) prepare(load Load) error {
	r := t.lanes[t.target.process()]
	if load.Reply || load.Flows <= max(fewFlows, r.opened[t.target]) {
		return nil // replies are learnt from requests, which open all of them
	}
	load.Size, load.Rate = 64, learnRate
	for range fillTries {
		trial, err := t.fresh(t.target, load, 0, load.lasts(), sampled)
		if err != nil {
			return err
		}
		if trial.Received >= uint64(load.Flows) {
			break
		}
	}
	r.opened[t.target] = load.Flows
	return nil
}

// gateRate and gateWindow make a trial in which every frame is checked: slow
// enough that no target loses a frame for want of speed.
const (
	gateRate   = 20_000
	gateWindow = 300 * time.Millisecond
	// sampled is how many frames there are for each that is checked while a
	// rate is measured.
	sampled = 2048
)

// gates lets every target show that it forwards rightly, in each direction in
// which it will be measured.
func (b *bed) gates(ctx context.Context, o *Options, r *Report) error {
	for _, t := range o.Targets {
		for _, load := range gateLoads(o.Loads) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if load.Reply && !t.repliesPass() {
				continue
			}
			o.say(fmt.Sprintf("%v: does it forward %s rightly?", t, load.direction()))
			g, err := b.gate(ctx, t, load)
			if err != nil {
				return fmt.Errorf("%v: %w", t, err)
			}
			r.Gates = append(r.Gates, g)
		}
	}
	return nil
}

// gateLoads are one slow load for each size and direction of the others.
func gateLoads(loads []Load) []Load {
	var all []Load
	for _, l := range loads {
		g := Load{Flows: 500, Rate: gateRate, Size: l.Size, Reply: l.Reply}
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	if all == nil {
		all = []Load{{Flows: 500, Rate: gateRate}}
	}
	return all
}

// gate runs a gate trial. A target that has only just started gets more than
// one chance to let something through.
func (b *bed) gate(ctx context.Context, t Target, load Load) (Trial, error) {
	for try := 1; ; try++ {
		g, err := b.udp(t, load, 100*time.Millisecond, gateWindow, 1)
		if err != nil || ctx.Err() != nil || g.Checked > 0 {
			return g, err
		}
		if try == 5 {
			g.Faults = append(g.Faults, "nothing arrived")
			return g, nil
		}
	}
}

// forwarding is the section of UDP trials: of Quick, and of searches, which make
// something else of theirs.
type forwarding struct {
	Gates  []Trial `json:"gates"` // slow trials in which every frame was checked
	Trials []Trial `json:"trials"`
	Rows   []Row   `json:"rows"`
}

// Row is one line of the table: a target under a load.
type Row struct {
	Target    string   `json:"target"`
	Load      Load     `json:"load"`
	Rate      Estimate `json:"rate_pps"`
	CPU       Estimate `json:"cpu_ns_per_packet"` // N 0 if the kernel forwards
	Sender    Estimate `json:"sender_ns_per_packet"`
	Ratio     Estimate `json:"cpu_to_null"` // of trials of the same round
	Loss      Estimate `json:"loss"`
	Checked   uint64   `json:"checked"`   // frames, in all trials
	Disorder  uint64   `json:"disorder"`  // of them, that others of their flow had overtaken
	Lossless  int      `json:"lossless"`  // trials
	Disturbed int      `json:"disturbed"` // trials, which count all the same
	Faults    []string `json:"faults,omitempty"`
}

// Verdict is "valid", or "INVALID" for a target that did not forward rightly.
func (r *Row) Verdict() string {
	if len(r.Faults) > 0 {
		return "INVALID"
	}
	return "valid"
}

// summarize makes the rows of the trials, in the order in which target and load
// first occur.
func (f *forwarding) summarize(r *Report) {
	type key struct {
		target string
		load   Load
	}
	groups := map[key][]*Trial{}
	var order []key
	for i := range f.Trials {
		t := &f.Trials[i]
		k := key{t.Target, t.Load}
		if t.Measure != "quick" {
			continue
		}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], t)
	}
	f.Rows = nil
	for _, k := range order {
		row := summary(groups[k], groups[key{r.floor(k.target), k.load}])
		for i := range f.Gates {
			if g := &f.Gates[i]; g.Target == k.target {
				row.Faults = append(row.Faults, g.wrong()...)
			}
		}
		f.Rows = append(f.Rows, row)
	}
}

func summary(trials, null []*Trial) Row {
	row := Row{Target: trials[0].Target, Load: trials[0].Load}
	var rates, loss, sender []float64
	cpu, base := byRound(trials), byRound(null)
	for _, t := range trials {
		rates, loss = append(rates, t.Rate()), append(loss, t.Loss())
		if t.Arrived > 0 {
			sender = append(sender, float64(t.SenderNS.Nanoseconds())/float64(t.Arrived))
		}
		row.Checked += t.Checked
		row.Disorder += t.Disorder
		if t.Loss() == 0 {
			row.Lossless++
		}
		if t.Disturbed() {
			row.Disturbed++
		}
		row.Faults = append(row.Faults, t.wrong()...)
	}
	row.Rate, row.Loss, row.Sender = estimate(rates), estimate(loss), estimate(sender)
	var values []float64
	for _, v := range cpu {
		values = append(values, v)
	}
	row.CPU, row.Ratio = estimate(values), estimate(ratios(cpu, base))
	return row
}

// wrong is all that was wrong with a trial's frames.
func (t *Trial) wrong() []string {
	if t.Multiplied() {
		return append(t.Faults, fmt.Sprintf("%d frames arrived of %d sent", t.Received, t.Sent))
	}
	return t.Faults
}

// byRound are the CPU times for each packet, by round.
func byRound(trials []*Trial) map[int]float64 {
	m := map[int]float64{}
	for _, t := range trials {
		if v := t.CPUPerPacket(); v > 0 {
			m[t.Round] = v
		}
	}
	return m
}

func (f *forwarding) series() []series {
	var c collection
	for i := range f.Trials {
		t := &f.Trials[i]
		if t.Measure != "quick" {
			continue
		}
		name := t.Load.String()
		if t.Load.Rate == 0 {
			c.add(series{target: t.Target, name: name, unit: "pkt/s"}, t.Round, t.Rate())
		}
		c.add(series{target: t.Target, name: name + "/cpu", unit: "ns/pkt", less: true}, t.Round, t.CPUPerPacket())
	}
	return c
}

func (f *forwarding) tables(*Report) []table {
	if len(f.Rows) == 0 {
		return nil
	}
	t := table{title: "UDP frames", head: []string{"target", "frames", "bytes", "flows", "offered", "received pps", "loss",
		"no loss in", "out of order", "CPU ns/packet", "95 %", "to null", "95 %", "disturbed", "verdict"}}
	for i := range f.Rows {
		t.rows = append(t.rows, f.Rows[i].cells())
	}
	return []table{t}
}

func (r *Row) cells() []string {
	return []string{
		r.Target, r.Load.direction(), r.Load.SizeName(), fmt.Sprint(r.Load.Flows), r.Load.Offered(),
		number(r.Rate.Median/1e3, "%.0fk"), number(100*r.Loss.Median, "%.2f %%"),
		fmt.Sprintf("%d of %d", r.Lossless, r.Loss.N), fmt.Sprintf("%d of %s", r.Disorder, short(float64(r.Checked))),
		number(r.CPU.Median, "%.0f"), interval(r.CPU, "%.0f"),
		number(r.Ratio.Median, "%.3f"), interval(r.Ratio, "%.2f"),
		fmt.Sprintf("%d of %d", r.Disturbed, r.Rate.N), r.Verdict(),
	}
}

// faults are what targets did wrong, a line each.
func (f *forwarding) faults() []string {
	var all []string
	for i := range f.Rows {
		if row := &f.Rows[i]; len(row.Faults) > 0 {
			all = append(all, row.Target+": "+strings.Join(row.Faults, "; "))
		}
	}
	return all
}

package bench

import (
	"context"
	"fmt"
	"strings"

	"uvs/bench/load"
	"uvs/bench/report"
)

// Quick offers UDP frames: packets a second and CPU time of each.
var Quick = Measure{Name: "quick", gated: true, unsupported: needsUDP, steps: quickSteps}

// needsUDP refuses proxies of TCP.
func needsUDP(t load.Target) string {
	if t.Method == load.HAProxy || t.Method == load.Nginx {
		return fmt.Sprintf("%v: carries TCP only", t)
	}
	return ""
}

func quickSteps(o *Options) []step {
	var all []step
	for _, offer := range o.Loads {
		all = append(all, step{
			name: fmt.Sprintf("%s of %s bytes, %d flows", offer.Direction(), offer.SizeName(), offer.Flows),
			run: func(_ context.Context, t *run) error {
				if offer.Reply && !t.target.RepliesPass() {
					t.report.Note(fmt.Sprintf("%v: replies do not pass it", t.target))
					return nil
				}
				if err := t.prepare(offer); err != nil {
					return err
				}
				trial, err := t.udp(t.target, offer, t.options.Warm, t.options.Window, sampled)
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
func (t *run) prepare(offer load.Load) error {
	r := t.lanes[t.target.Process()]
	if offer.Reply || offer.Flows <= max(fewFlows, r.opened[t.target]) {
		return nil // replies are learnt from requests, which open all of them
	}
	offer.Size, offer.Rate = 64, load.LearnRate
	for range fillTries {
		trial, err := t.oncePerFlow(t.target, offer, 0, offer.Duration(), sampled)
		if err != nil {
			return err
		}
		if trial.Received >= uint64(offer.Flows) {
			break
		}
	}
	r.opened[t.target] = offer.Flows
	return nil
}

// sampled is how many frames there are for each that is checked while a rate is
// measured.
const sampled = 2048

// UDPResults is the section of UDP trials: of Quick, and of searches, which make
// something else of theirs.
type UDPResults struct {
	Gates  []load.Trial `json:"gates"` // slow trials in which every frame was checked
	Trials []load.Trial `json:"trials"`
	Rows   []Row        `json:"rows"`
}

// Row is one line of the table: a target under a load.
type Row struct {
	Target    string          `json:"target"`
	Load      load.Load       `json:"load"`
	Rate      report.Estimate `json:"rate_pps"`
	CPU       report.Estimate `json:"cpu_ns_per_packet"` // N 0 if the kernel forwards
	Sender    report.Estimate `json:"sender_ns_per_packet"`
	Ratio     report.Estimate `json:"cpu_to_null"` // of trials of the same round
	Loss      report.Estimate `json:"loss"`
	Checked   uint64          `json:"checked"`   // frames, in all trials
	Disorder  uint64          `json:"disorder"`  // of them, that others of their flow had overtaken
	Lossless  int             `json:"lossless"`  // trials
	Disturbed int             `json:"disturbed"` // trials, which count all the same
	Faults    []string        `json:"faults,omitempty"`
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
func (f *UDPResults) summarize(r *Report) {
	type key struct {
		target string
		load   load.Load
	}
	groups := map[key][]*load.Trial{}
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
		row := summary(groups[k], groups[key{r.Null(k.target), k.load}])
		for i := range f.Gates {
			if g := &f.Gates[i]; g.Target == k.target {
				row.Faults = append(row.Faults, g.Problems()...)
			}
		}
		f.Rows = append(f.Rows, row)
	}
}

func summary(trials, null []*load.Trial) Row {
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
		row.Faults = append(row.Faults, t.Problems()...)
	}
	row.Rate, row.Loss, row.Sender = report.NewEstimate(rates), report.NewEstimate(loss), report.NewEstimate(sender)
	var values []float64
	for _, v := range cpu {
		values = append(values, v)
	}
	row.CPU, row.Ratio = report.NewEstimate(values), report.NewEstimate(report.Ratios(cpu, base))
	return row
}

// byRound are the CPU times for each packet, by round.
func byRound(trials []*load.Trial) map[int]float64 {
	m := map[int]float64{}
	for _, t := range trials {
		if v := t.CPUPerPacket(); v > 0 {
			m[t.Round] = v
		}
	}
	return m
}

func (f *UDPResults) series() []report.Series {
	var c report.Collection
	for i := range f.Trials {
		t := &f.Trials[i]
		if t.Measure != "quick" {
			continue
		}
		name := t.Load.String()
		if t.Load.Rate == 0 {
			c.Add(report.Series{Target: t.Target, Name: name, Unit: "pkt/s"}, t.Round, t.Rate())
		}
		c.Add(report.Series{Target: t.Target, Name: name + "/cpu", Unit: "ns/pkt", Less: true}, t.Round, t.CPUPerPacket())
	}
	return c
}

func (f *UDPResults) tables(*Report) []report.Table {
	if len(f.Rows) == 0 {
		return nil
	}
	t := report.Table{Title: "UDP frames", Head: []string{"target", "frames", "bytes", "flows", "offered", "received pps", "loss",
		"no loss in", "out of order", "CPU ns/packet", "95 %", "to null", "95 %", "disturbed", "verdict"}}
	for i := range f.Rows {
		t.Rows = append(t.Rows, f.Rows[i].cells())
	}
	return []report.Table{t}
}

func (r *Row) cells() []string {
	return []string{
		r.Target, r.Load.Direction(), r.Load.SizeName(), fmt.Sprint(r.Load.Flows), r.Load.Offered(),
		report.Number(r.Rate.Median/1e3, "%.0fk"), report.Number(100*r.Loss.Median, "%.2f %%"),
		fmt.Sprintf("%d of %d", r.Lossless, r.Loss.N), fmt.Sprintf("%d of %s", r.Disorder, report.Short(float64(r.Checked))),
		report.Number(r.CPU.Median, "%.0f"), report.Interval(r.CPU, "%.0f"),
		report.Number(r.Ratio.Median, "%.3f"), report.Interval(r.Ratio, "%.2f"),
		fmt.Sprintf("%d of %d", r.Disturbed, r.Rate.N), r.Verdict(),
	}
}

// faults are what targets did wrong, a line each.
func (f *UDPResults) faults() []string {
	var all []string
	for i := range f.Rows {
		if row := &f.Rows[i]; len(row.Faults) > 0 {
			all = append(all, row.Target+": "+strings.Join(row.Faults, "; "))
		}
	}
	return all
}

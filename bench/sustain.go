package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"
)

// Sustain opens and closes TCP connections for minutes on end: what is done well
// for a second may use something up, such as local ports, that returns too slowly.
var Sustain = Measure{Name: "sustain", unpinned: true, untwinned: true, estimate: sustainEstimate, unsupported: needsTCP, prepare: (*testbed).prepareTCP, steps: sustainSteps}

// SustainTrial is one target's run of connections that were opened and closed.
type SustainTrial struct {
	Target   string            `json:"target"`
	Round    int               `json:"round"`
	Intended time.Duration     `json:"intended_ns"` // length of the run
	Periods  []load.TCPTrial   `json:"periods"`     // minutes, or halves of a short run
	First    float64           `json:"first_per_second"`
	Last     float64           `json:"last_per_second"`
	Ratio    float64           `json:"last_to_first"` // 0 with fewer than two periods
	Failed   uint64            `json:"failed"`
	Refused  uint64            `json:"refused"` // of those that failed
	Losses   map[string]uint64 `json:"losses,omitempty"`
}

// sustainedRatio is how much of the first minute's rate the last must have.
const sustainedRatio = 0.9

// Verdict is "sustained", or what kept it from being so.
func (s *SustainTrial) Verdict() string {
	var total time.Duration
	for i := range s.Periods {
		total += s.Periods[i].Window
	}
	switch {
	case total < s.Intended || len(s.Periods) < 2:
		return "incomplete"
	case s.Failed > 0:
		return "failed"
	case s.Ratio < sustainedRatio:
		return "slowed"
	}
	return "sustained"
}

// judge makes the figures of the periods.
func (s *SustainTrial) judge() {
	s.First, s.Last, s.Ratio, s.Failed, s.Refused = 0, 0, 0, 0, 0
	for i := range s.Periods {
		s.Failed += s.Periods[i].Failed
		s.Refused += s.Periods[i].Refused
	}
	if n := len(s.Periods); n > 0 {
		s.First, s.Last = s.Periods[0].PerSecond(), s.Periods[n-1].PerSecond()
		if n > 1 && s.First > 0 {
			s.Ratio = s.Last / s.First
		}
	}
}

// periods divides a run into minutes, or a run of less than two into halves.
func periods(run time.Duration) []time.Duration {
	if run < 2*time.Minute {
		return []time.Duration{run / 2, run - run/2}
	}
	var all []time.Duration
	for ; run >= 2*time.Minute; run -= time.Minute {
		all = append(all, time.Minute)
	}
	return append(all, run)
}

func sustainEstimate(o *Options) time.Duration { return o.Warm + o.Connections.Duration + perTarget }

func sustainSteps(o *Options) []step {
	return []step{{name: fmt.Sprintf("TCP connections opened and closed for %v", o.Connections.Duration), run: func(ctx context.Context, t *run) error {
		s, err := t.sustain(ctx)
		if len(s.Periods) > 0 {
			t.report.Sustained = append(t.report.Sustained, s)
		}
		return err
	}}}
}

// sustain runs one target. What was measured before an error is returned with it.
func (t *run) sustain(ctx context.Context) (SustainTrial, error) {
	s := SustainTrial{Target: t.target.String(), Round: t.round, Intended: t.options.Connections.Duration}
	r := t.lanes[t.target.Process()]
	before, err := t.counters(r, t.target)
	if err != nil {
		return s, err
	}
	c := t.tcpCall(t.target, load.Connect, t.options)
	if err := t.calls.Call("StartTCP", c, &struct{}{}); err != nil {
		return s, err
	}
	wait(ctx, c.Warm)
	for i, d := range periods(s.Intended) {
		t.options.say(fmt.Sprintf("%v: connections opened and closed, period %d, %v", t.target, i+1, d))
		p := load.TCPTrial{Target: s.Target, Round: t.round}
		if err = t.within(ctx, "WindowTCP", d, &p); err != nil {
			break
		}
		s.Periods = append(s.Periods, p)
		s.judge()
	}
	if ctx.Err() != nil { // a call may still be under way; the lab ends with its part
		return s, err
	}
	after, err2 := t.counters(r, t.target)
	s.Losses = losses(before, after)
	return s, errors.Join(err, err2, t.calls.Call("EndTCP", struct{}{}, &struct{}{}))
}

// within calls the tester. It does not wait for the answer beyond the end of the
// context.
func (b *testbed) within(ctx context.Context, method string, arg, reply any) error {
	select {
	case err := <-b.calls.Go(method, arg, reply):
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SustainResults is the section of Sustain.
type SustainResults struct {
	Sustained []SustainTrial `json:"sustained,omitempty"`
}

func (s *SustainResults) summarize(*Report) {}

func (s *SustainResults) series() []report.Series {
	var all report.Collection
	for i := range s.Sustained {
		run := &s.Sustained[i]
		for j := range run.Periods {
			all.Add(report.Series{Target: run.Target, Name: "sustain", Unit: "conns/s"}, j, run.Periods[j].PerSecond())
		}
	}
	return all
}

func (s *SustainResults) tables(*Report) []report.Table {
	if len(s.Sustained) == 0 {
		return nil
	}
	runs := report.Table{
		Title: "Connections opened and closed, sustained",
		Note: fmt.Sprintf("connections/s in the first minute and the last (halves of a run shorter than two minutes); sustained: none failed and the last has at least %.1f of the first",
			sustainedRatio),
		Head: []string{"target", "for", "first/s", "last/s", "last/first", "failed", "refused", "lost as", "verdict"},
	}
	each := report.Table{Title: "Each minute", Head: []string{"target", "period", "seconds", "connections/s", "failed", "refused", "CPU µs each"}}
	for i := range s.Sustained {
		run := &s.Sustained[i]
		runs.Rows = append(runs.Rows, []string{run.Target, run.Intended.String(), fmt.Sprintf("%.0f", run.First), fmt.Sprintf("%.0f", run.Last),
			fmt.Sprintf("%.3f", run.Ratio), fmt.Sprint(run.Failed), fmt.Sprint(run.Refused), formatCounters(run.Losses), run.Verdict()})
		for j := range run.Periods {
			p := &run.Periods[j]
			cost := "-"
			if c := p.Cost(); c > 0 {
				cost = fmt.Sprintf("%.2f", c/1e3)
			}
			each.Rows = append(each.Rows, []string{run.Target, fmt.Sprint(j + 1), fmt.Sprintf("%.0f", p.Window.Seconds()),
				fmt.Sprintf("%.0f", p.PerSecond()), fmt.Sprint(p.Failed), fmt.Sprint(p.Refused), cost})
		}
	}
	return []report.Table{runs, each}
}

// figures show the rate of each period, one curve a target.
func (s *SustainResults) figures(rep *Report) []report.Figure {
	p := report.LinePlot{Title: "Connections opened and closed, by minute"}
	p.X = report.Axis{Label: "seconds after the beginning", Format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
	p.Y = report.Axis{Label: "connections/s", Format: report.Short}
	for i := range s.Sustained {
		run := &s.Sustained[i]
		c := report.Curve{Label: run.Target, Class: rep.ColourOf(run.Target)}
		at := 0.0
		for j := range run.Periods {
			at += run.Periods[j].Window.Seconds()
			c.Points = append(c.Points, report.Point{X: at, Y: run.Periods[j].PerSecond()})
		}
		p.Curves = append(p.Curves, c)
	}
	if len(p.Curves) == 0 {
		return nil
	}
	return []report.Figure{{Title: p.Title, Note: "One point for each minute, at its end. A line that falls says that something is used up.", SVG: p.Draw()}}
}

// sustainedValues are one number of each run.
func sustainedValues(of func(*SustainTrial) float64) func(*Report) []report.Judged {
	return func(r *Report) []report.Judged {
		var all []report.Judged
		for i := range r.Sustained {
			all = append(all, report.Judged{Target: r.Sustained[i].Target, Value: report.Exactly(of(&r.Sustained[i]))})
		}
		return all
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Sustain opens and closes TCP connections for minutes on end: what is done well
// for a second may use something up, such as local ports, that returns too slowly.
var Sustain = Measure{Name: "sustain", unpinned: true, once: true, takes: sustainTakes, unfit: noTCP, prepare: (*bed).prepareTCP, steps: sustainSteps}

// Sustained is one target's run of connections that were opened and closed.
type Sustained struct {
	Target   string            `json:"target"`
	Round    int               `json:"round"`
	Intended time.Duration     `json:"intended_ns"` // length of the run
	Periods  []TCPTrial        `json:"periods"`     // minutes, or halves of a short run
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
func (s *Sustained) Verdict() string {
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
func (s *Sustained) judge() {
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

func sustainTakes(o *Options) time.Duration { return o.Warm + o.Crowd.Duration + perTarget }

func sustainSteps(o *Options) []step {
	return []step{{name: fmt.Sprintf("TCP connections opened and closed for %v", o.Crowd.Duration), run: func(ctx context.Context, t *turn) error {
		s, err := t.sustain(ctx)
		if len(s.Periods) > 0 {
			t.report.Sustained = append(t.report.Sustained, s)
		}
		return err
	}}}
}

// sustain runs one target. What was measured before an error is returned with it.
func (t *turn) sustain(ctx context.Context) (Sustained, error) {
	s := Sustained{Target: t.target.String(), Round: t.round, Intended: t.options.Crowd.Duration}
	r := t.lanes[t.target.process()]
	before, err := t.counters(r, t.target)
	if err != nil {
		return s, err
	}
	c := t.tcpCall(t.target, Connect, t.options)
	if err := t.rpc.Call("Tester.StartTCP", c, &struct{}{}); err != nil {
		return s, err
	}
	wait(ctx, c.Warm)
	for i, d := range periods(s.Intended) {
		t.options.say(fmt.Sprintf("%v: connections opened and closed, period %d, %v", t.target, i+1, d))
		p := TCPTrial{Target: s.Target, Round: t.round}
		if err = t.within(ctx, "Tester.WindowTCP", d, &p); err != nil {
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
	return s, errors.Join(err, err2, t.rpc.Call("Tester.EndTCP", struct{}{}, &struct{}{}))
}

// within calls the tester. It does not wait for the answer beyond the end of the
// context.
func (b *bed) within(ctx context.Context, method string, arg, reply any) error {
	call := b.rpc.Go(method, arg, reply, nil)
	select {
	case <-call.Done:
		return call.Error
	case <-ctx.Done():
		return ctx.Err()
	}
}

// StartTCP starts clients that run until EndTCP. There is one such run at a time.
func (t *Tester) StartTCP(c TCPCall, _ *struct{}) (err error) {
	t.clients, err = startClients(&c)
	return err
}

// WindowTCP measures for a while what the clients do.
func (t *Tester) WindowTCP(d time.Duration, r *TCPTrial) error {
	if t.clients == nil {
		return errors.New("bench: no clients run")
	}
	return t.clients.window(d, r)
}

// EndTCP ends the clients.
func (t *Tester) EndTCP(struct{}, *struct{}) error {
	if t.clients != nil {
		t.clients.close()
		t.clients = nil
	}
	return nil
}

// sustaining is the section of Sustain.
type sustaining struct {
	Sustained []Sustained `json:"sustained,omitempty"`
}

func (s *sustaining) summarize(*Report) {}

func (s *sustaining) series() []series {
	var all collection
	for i := range s.Sustained {
		run := &s.Sustained[i]
		for j := range run.Periods {
			all.add(series{target: run.Target, name: "sustain", unit: "conns/s"}, j, run.Periods[j].PerSecond())
		}
	}
	return all
}

func (s *sustaining) tables(*Report) []table {
	if len(s.Sustained) == 0 {
		return nil
	}
	runs := table{
		title: "Connections opened and closed, sustained",
		note: fmt.Sprintf("connections/s in the first minute and the last (halves of a run shorter than two minutes); sustained: none failed and the last has at least %.1f of the first",
			sustainedRatio),
		head: []string{"target", "for", "first/s", "last/s", "last/first", "failed", "refused", "lost as", "verdict"},
	}
	each := table{title: "Each minute", head: []string{"target", "period", "seconds", "connections/s", "failed", "refused", "CPU µs each"}}
	for i := range s.Sustained {
		run := &s.Sustained[i]
		runs.rows = append(runs.rows, []string{run.Target, run.Intended.String(), fmt.Sprintf("%.0f", run.First), fmt.Sprintf("%.0f", run.Last),
			fmt.Sprintf("%.3f", run.Ratio), fmt.Sprint(run.Failed), fmt.Sprint(run.Refused), named(run.Losses), run.Verdict()})
		for j := range run.Periods {
			p := &run.Periods[j]
			cost := "-"
			if c := p.Cost(); c > 0 {
				cost = fmt.Sprintf("%.2f", c/1e3)
			}
			each.rows = append(each.rows, []string{run.Target, fmt.Sprint(j + 1), fmt.Sprintf("%.0f", p.Window.Seconds()),
				fmt.Sprintf("%.0f", p.PerSecond()), fmt.Sprint(p.Failed), fmt.Sprint(p.Refused), cost})
		}
	}
	return []table{runs, each}
}

// figures show the rate of each period, one curve a target.
func (s *sustaining) figures(rep *Report) []figure {
	p := linePlot{title: "Connections opened and closed, by minute"}
	p.x = axis{label: "seconds after the beginning", format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
	p.y = axis{label: "connections/s", format: short}
	for i := range s.Sustained {
		run := &s.Sustained[i]
		c := curve{label: run.Target, class: rep.colourOf(run.Target)}
		at := 0.0
		for j := range run.Periods {
			at += run.Periods[j].Window.Seconds()
			c.points = append(c.points, point{at, run.Periods[j].PerSecond()})
		}
		p.curves = append(p.curves, c)
	}
	if len(p.curves) == 0 {
		return nil
	}
	return []figure{{title: p.title, note: "One point for each minute, at its end. A line that falls says that something is used up.", svg: p.draw()}}
}

// sustainedValues are one number of each run.
func sustainedValues(of func(*Sustained) float64) func(*Report) []Judged {
	return func(r *Report) []Judged {
		var all []Judged
		for i := range r.Sustained {
			all = append(all, Judged{Target: r.Sustained[i].Target, Value: exactly(of(&r.Sustained[i]))})
		}
		return all
	}
}

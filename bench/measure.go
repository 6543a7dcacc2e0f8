package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"
)

// Measure is one kind of measurement, which every target goes through.
type Measure struct {
	// Name says what is measured: "quick", "tcp".
	Name string
	// gated measures let every target show first that it forwards UDP rightly.
	gated bool
	// unpinned measures let every process run on any CPU.
	unpinned bool
	// untwinned measures take too long for a target to be measured twice (A/A).
	untwinned bool
	// ownLab measures build a lab for each run, which has no testbed.
	ownLab bool
	// estimate is about how long one target's step takes; nil: a trial.
	estimate func(*Options) time.Duration
	// unsupported says in one line why a target cannot be measured so, or "".
	unsupported func(load.Target) string
	// prepare makes the lab ready, once.
	prepare func(*testbed) error
	// steps are what each target does in every round, in order.
	steps func(*Options) []step
}

// step is one thing that every target does in each round.
type step struct {
	name string // for the progress line
	run  func(context.Context, *run) error
}

// run is one step of one target in one round, with all it needs. It adds what it
// measures to the report.
type run struct {
	*testbed
	options *Options
	report  *Report
	target  load.Target
	round   int
}

// Part is a measure and what it is to measure.
type Part struct {
	Measure Measure
	Options Options
}

// Run takes the targets of each part through its measure. A target that fails, or
// a part whose lab cannot be built, is noted in the report and left out; all else
// goes on. The error joins what failed. When the context ends, Run returns what it
// has, with Partial set and no error for that.
func Run(ctx context.Context, kind string, parts ...Part) (*Report, error) {
	r := &Report{Run: report.Run{Schema: report.Schema, Kind: kind, Meta: report.NewMeta()}}
	o := &parts[0].Options
	r.Meta.Command = o.Command
	o.say("how quiet is this machine?")
	r.Noise = load.MeasureNoise(2 * time.Second)
	var errs []error
	for i := range parts {
		f := &failures{report: r, setting: parts[i].begin(r)}
		parts[i].run(ctx, r, f)
		errs = append(errs, f.errs...)
	}
	r.Finish(ctx.Err() != nil)
	r.summarize()
	return r, errors.Join(errs...)
}

// failures are what has gone wrong in a part, and who is out for it.
type failures struct {
	report  *Report
	setting int // of the report's parts
	out     []load.Target
	errs    []error
}

// add notes an error of a target, or of the whole part if there is none.
func (f *failures) add(t *load.Target, round int, err error) {
	p := &f.report.Parts[f.setting]
	failure := report.Failure{Measure: p.Measure, Round: round, Error: err.Error()}
	if t != nil {
		failure.Target = t.String()
		f.out = append(f.out, *t)
		err = fmt.Errorf("%v: %w", t, err)
	}
	f.report.Fail(failure)
	f.errs = append(f.errs, fmt.Errorf("%s: %w", p.Measure, err))
}

// left are the targets that have not failed.
func (f *failures) left(all []load.Target) []load.Target {
	return slices.DeleteFunc(slices.Clone(all), func(t load.Target) bool { return slices.Contains(f.out, t) })
}

// completed counts a whole round of the targets that have not failed.
func (f *failures) completed(all []load.Target) {
	p := &f.report.Parts[f.setting]
	for _, t := range f.left(all) {
		p.Completed[t.String()]++
	}
}

// begin decides what a part measures, writes it into the report, and returns its
// place there.
func (p *Part) begin(r *Report) int {
	o := &p.Options
	o.Unpinned = o.Unpinned || p.Measure.unpinned
	o.Targets = p.supported(r)
	if len(o.Targets) > 0 && !o.Once && !p.Measure.untwinned {
		o.Targets = append(o.Targets, twin(o.Targets))
	}
	r.Parts = append(r.Parts, o.setting(p.Measure.Name))
	return len(r.Parts) - 1
}

// run makes the lab of a part and measures in it.
func (p *Part) run(ctx context.Context, r *Report, f *failures) {
	if ctx.Err() != nil {
		r.Note(fmt.Sprintf("%s: not begun, because the run was interrupted", p.Measure.Name))
		return
	}
	if err := p.inLab(ctx, r, f); err != nil && ctx.Err() == nil {
		f.add(nil, 0, err)
	}
}

func (p *Part) inLab(ctx context.Context, r *Report, f *failures) error {
	o := &p.Options
	if len(o.Targets) == 0 {
		return errors.New("no target is left to measure")
	}
	if p.Measure.ownLab {
		return p.rounds(ctx, nil, r, f)
	}
	o.say("building the lab")
	b, err := newTestbed(ctx, o, f)
	if err != nil {
		return err
	}
	defer b.Close()
	if p.Measure.prepare != nil {
		if err := p.Measure.prepare(b); err != nil {
			return err
		}
	}
	if p.Measure.gated {
		b.gates(ctx, o, r, f)
	}
	return p.rounds(ctx, b, r, f)
}

// supported leaves out the targets that cannot be measured here, or so, and notes why.
func (p *Part) supported(r *Report) []load.Target {
	var have []load.Target
	for _, t := range p.Options.Targets {
		why := missing(t)
		if why == "" && p.Measure.unsupported != nil {
			why = p.Measure.unsupported(t)
		}
		if why != "" {
			r.Note(why)
			continue
		}
		have = append(have, t)
	}
	return have
}

// rounds lets the targets take each step in turns, forwards and backwards
// (ABBA): a drift of the machine then meets all alike. A target that fails takes no
// more turns.
func (p *Part) rounds(ctx context.Context, b *testbed, r *Report, f *failures) error {
	o := &p.Options
	for round := range o.Rounds {
		for _, s := range p.Measure.steps(o) {
			targets := f.left(o.Targets)
			if round%2 == 1 {
				slices.Reverse(targets)
			}
			for _, t := range targets {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				o.say(fmt.Sprintf("%s, round %d of %d: %v, %s", p.Measure.Name, round+1, o.Rounds, t, s.name))
				err := s.run(ctx, &run{testbed: b, options: o, report: r, target: t, round: round})
				if err != nil && ctx.Err() == nil {
					f.add(&t, round, err)
				}
			}
		}
		if ctx.Err() == nil {
			f.completed(o.Targets)
		}
	}
	return nil
}

// Estimated is about how long parts take, from what they are to do; a machine that
// is busy takes longer.
func Estimated(parts ...Part) time.Duration {
	total := 3 * time.Second
	for i := range parts {
		p := &parts[i]
		o := &p.Options
		targets := len(o.Targets)
		if !p.Measure.untwinned {
			targets++
		}
		trial := o.Warm + o.Window + betweenTrials
		if p.Measure.estimate != nil {
			trial = p.Measure.estimate(o)
		}
		total += time.Duration(o.Rounds*len(p.Measure.steps(o))*targets)*trial + time.Duration(targets)*perTarget
	}
	return total.Round(time.Second)
}

// What a trial and a target take besides, on a machine that is not too busy.
const (
	betweenTrials = 200 * time.Millisecond
	perTarget     = time.Second // to start it and to see that it forwards rightly
)

func fairnessEstimate(o *Options) time.Duration {
	return time.Duration(float64(o.Fairness.Connections)/fairnessRate*1e9) + 2*betweenTrials
}

func disruptEstimate(o *Options) time.Duration {
	return o.Disrupt.Before + o.Disrupt.After + o.Disrupt.Detect + 2*perTarget
}

func openEstimate(o *Options) time.Duration {
	return o.Warm + o.Window + betweenTrials + fillTime(o, o.Connections.Live)
}

func holdEstimate(o *Options) time.Duration {
	total := 0
	for _, n := range o.Connections.Hold {
		total += 2 * n // to open them and to ask after each
	}
	return fillTime(o, total)/time.Duration(max(len(o.Connections.Hold), 1)) + perTarget
}

// fillTime is how long so many frames take at the rate of filling up.
func fillTime(o *Options, frames int) time.Duration {
	return time.Duration(float64(frames) / max(o.Connections.Fill, 1) * 1e9)
}

func recoveryEstimate(o *Options) time.Duration {
	s := &o.Recovery
	return o.Warm + o.Window + s.Before + s.Overload + s.After + 2*perTarget
}

// twin returns the target that is measured twice: a second process on a lane of
// its own, which takes its turns as all others do. It is the null forwarder where
// there is one, since all others are compared with it, or a director.
func twin(targets []load.Target) load.Target {
	at := 0
	if i := slices.IndexFunc(targets, load.Target.IsDirector); i >= 0 {
		at = i
	}
	if i := slices.IndexFunc(targets, func(t load.Target) bool { return t.Method == load.Null && t.Program == "" }); i >= 0 {
		at = i
	}
	t := targets[at]
	t.Again = true
	return t
}

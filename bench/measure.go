package bench

import (
	"context"
	"fmt"
	"time"
)

// Measure is one kind of measurement: what every target goes through, in turns.
type Measure struct {
	// Name says what is measured: "quick", "tcp".
	Name string
	// gated measures let every target show first that it forwards UDP rightly.
	gated bool
	// unpinned measures let every process run on any CPU.
	unpinned bool
	// once measures are too long for a target to be measured twice (A/A).
	once bool
	// without measures make labs of their own: their turns have no bed.
	without bool
	// takes is about how long a target's turn at a step is; nil: a trial.
	takes func(*Options) time.Duration
	// unfit says in a line why a target cannot be measured so, or "".
	unfit func(Target) string
	// prepare makes the lab ready, once.
	prepare func(*bed) error
	// steps are what each target does in every round, in order.
	steps func(*Options) []step
}

// step is one thing that every target does in each round.
type step struct {
	name string // for the progress line
	run  func(context.Context, *turn) error
}

// turn is one target's go at a step, with all it needs. What it measures it adds
// to the report.
type turn struct {
	*bed
	options *Options
	report  *Report
	target  Target
	round   int
}

// Part is a measure and what it is to measure.
type Part struct {
	Measure Measure
	Options Options
}

// Run takes the targets of each part through its measure. It returns what it has
// when the context ends, with Partial set. The error is what kept it from
// measuring at all, or ended it.
func Run(ctx context.Context, kind string, parts ...Part) (*Report, error) {
	r := &Report{Schema: schema, Kind: kind, Meta: newMeta()}
	o := &parts[0].Options
	r.Meta.Command = o.Command
	o.say("how quiet is this machine?")
	r.Noise = MeasureNoise(2 * time.Second)
	var err error
	for i := range parts {
		if err == nil && ctx.Err() == nil {
			err = parts[i].run(ctx, r)
		}
	}
	if ctx.Err() != nil {
		r.Partial, err = "interrupted", nil
	}
	r.Meta.End = time.Now().UTC()
	r.summarize()
	return r, err
}

// run makes the lab of a part and measures in it.
func (p *Part) run(ctx context.Context, r *Report) error {
	o := &p.Options
	o.Unpinned = o.Unpinned || p.Measure.unpinned
	o.Targets = p.fit(r)
	if len(o.Targets) == 0 {
		return fmt.Errorf("bench: %s: no target is left to measure", p.Measure.Name)
	}
	if !o.Once && !p.Measure.once {
		o.Targets = append(o.Targets, twin(o.Targets))
	}
	r.Parts = append(r.Parts, o.setting(p.Measure.Name))
	if p.Measure.without {
		return p.rounds(ctx, nil, r)
	}
	o.say("building the lab")
	b, err := newBed(ctx, o)
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
		if err := b.gates(ctx, o, r); err != nil {
			return err
		}
	}
	return p.rounds(ctx, b, r)
}

// fit leaves out the targets that cannot be measured here, or so, and notes why.
func (p *Part) fit(r *Report) []Target {
	var have []Target
	for _, t := range p.Options.Targets {
		why := t.missing()
		if why == "" && p.Measure.unfit != nil {
			why = p.Measure.unfit(t)
		}
		if why != "" {
			r.note(why)
			continue
		}
		have = append(have, t)
	}
	return have
}

// rounds lets the targets take each step in turns, forwards and backwards
// (ABBA): a drift of the machine then meets all alike.
func (p *Part) rounds(ctx context.Context, b *bed, r *Report) error {
	o := &p.Options
	for round := range o.Rounds {
		for _, s := range p.Measure.steps(o) {
			for i, t := range o.Targets {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if round%2 == 1 {
					t = o.Targets[len(o.Targets)-1-i]
				}
				o.say(fmt.Sprintf("%s, round %d of %d: %v, %s", p.Measure.Name, round+1, o.Rounds, t, s.name))
				if err := s.run(ctx, &turn{bed: b, options: o, report: r, target: t, round: round}); err != nil {
					return fmt.Errorf("%v: %w", t, err)
				}
			}
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
		if !p.Measure.once {
			targets++
		}
		trial := o.Warm + o.Window + betweenTrials
		if p.Measure.takes != nil {
			trial = p.Measure.takes(o)
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

func fairnessTakes(o *Options) time.Duration {
	return time.Duration(float64(o.Fair.Connections)/fairnessRate*1e9) + 2*betweenTrials
}

func disruptTakes(o *Options) time.Duration {
	return o.Disrupt.Before + o.Disrupt.After + o.Disrupt.Detect + 2*perTarget
}

func openTakes(o *Options) time.Duration {
	return o.Warm + o.Window + betweenTrials + filling(o, o.Crowd.Live)
}

func holdTakes(o *Options) time.Duration {
	total := 0
	for _, n := range o.Crowd.Hold {
		total += 2 * n // to open them and to ask after each
	}
	return filling(o, total)/time.Duration(max(len(o.Crowd.Hold), 1)) + perTarget
}

// filling is how long so many frames take at the rate of filling up.
func filling(o *Options, frames int) time.Duration {
	return time.Duration(float64(frames) / max(o.Crowd.Fill, 1) * 1e9)
}

func recoveryTakes(o *Options) time.Duration {
	s := &o.Strain
	return o.Warm + o.Window + s.Before + s.Overload + s.After + 2*perTarget
}

package bench

import (
	"context"
	"fmt"
	"time"
)

// gateRate and gateWindow make a trial in which every frame is checked: slow
// enough that no target loses a frame for want of speed.
const (
	gateRate   = 20_000
	gateWindow = 300 * time.Millisecond
	// sampled is how many frames there are for each that is checked while a
	// rate is measured.
	sampled = 2048
)

// Quick measures all targets under all loads, in turns. It returns what it has
// when the context ends, with Partial set. The error is what kept it from
// measuring at all, or ended it.
func Quick(ctx context.Context, o Options) (*Report, error) {
	r := &Report{Schema: schema, Kind: "quick", Meta: newMeta(&o)}
	o.Targets = r.installed(o.Targets)
	o.say("how quiet is this machine?")
	r.Noise = MeasureNoise(2 * time.Second)
	o.say("building the lab")
	b, err := newBed(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	err = b.gates(ctx, &o, r)
	if err == nil {
		err = b.rounds(ctx, &o, r)
	}
	if ctx.Err() != nil {
		r.Partial, err = "interrupted", nil
	}
	r.Meta.End = time.Now().UTC()
	r.summarize()
	return r, err
}

// gates lets every target show that it forwards rightly.
func (b *bed) gates(ctx context.Context, o *Options, r *Report) error {
	for _, t := range o.Targets {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.say(fmt.Sprintf("%v: does it forward rightly?", t))
		load := Load{Flows: 500, Rate: gateRate}
		if len(o.Loads) > 0 {
			load.Size = o.Loads[0].Size
		}
		g, err := b.gate(ctx, t, load)
		if err != nil {
			return fmt.Errorf("%v: %w", t, err)
		}
		r.Gates = append(r.Gates, g)
	}
	return nil
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

// rounds measures each target once for each load and round, forwards and
// backwards in turns (ABBA): a drift of the machine then meets all alike.
func (b *bed) rounds(ctx context.Context, o *Options, r *Report) error {
	for round := range o.Rounds {
		for _, load := range o.Loads {
			for i := range o.Targets {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				t := o.Targets[i]
				if round%2 == 1 {
					t = o.Targets[len(o.Targets)-1-i]
				}
				o.say(fmt.Sprintf("round %d of %d: %s, %s bytes, %d flows", round+1, o.Rounds, t, load.SizeName(), load.Flows))
				trial, err := b.udp(t, load, o.Warm, o.Window, sampled)
				if err != nil {
					return fmt.Errorf("%v: %w", t, err)
				}
				trial.Round = round
				r.Trials = append(r.Trials, trial)
			}
		}
	}
	return nil
}

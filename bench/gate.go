package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"uvs/bench/load"
)

// gateRate and gateWindow make a trial in which every frame is checked: slow
// enough that no target loses a frame for want of speed.
const (
	gateRate   = 20_000
	gateWindow = 300 * time.Millisecond
)

// gates lets every target show that it forwards rightly, in each direction in
// which it will be measured.
func (b *testbed) gates(ctx context.Context, o *Options, r *Report, f *failures) {
	for _, t := range f.left(o.Targets) {
		if err := b.gatesOf(ctx, t, o, r); err != nil && ctx.Err() == nil {
			f.add(&t, 0, err)
		}
	}
}

// gatesOf runs the gate trials of one target.
func (b *testbed) gatesOf(ctx context.Context, t load.Target, o *Options, r *Report) error {
	for _, offer := range gateLoads(o.Loads) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if offer.Reply && !t.RepliesPass() {
			continue
		}
		o.say(fmt.Sprintf("%v: does it forward %s rightly?", t, offer.Direction()))
		g, err := b.gate(ctx, t, offer)
		if err != nil {
			return err
		}
		r.Gates = append(r.Gates, g)
	}
	return nil
}

// gateLoads are one slow load for each size and direction of the others.
func gateLoads(loads []load.Load) []load.Load {
	var all []load.Load
	for _, l := range loads {
		g := load.Load{Flows: 500, Rate: gateRate, Size: l.Size, Reply: l.Reply}
		if !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	if all == nil {
		all = []load.Load{{Flows: 500, Rate: gateRate}}
	}
	return all
}

// gateTries is how often a target is tried that has only just started, or whose CPU
// was taken away for a moment: until it loses nothing worth a word. A frame that was
// wrong is never forgiven.
const gateTries = 5

// gate runs gate trials of a target until one of them decides.
func (b *testbed) gate(ctx context.Context, t load.Target, offer load.Load) (load.Trial, error) {
	for try := 1; ; try++ {
		g, err := b.udp(t, offer, 100*time.Millisecond, gateWindow, 1)
		if err != nil || ctx.Err() != nil {
			return g, err
		}
		wrong := !g.Valid()
		g.JudgeGate()
		if wrong || g.Valid() || try == gateTries {
			return g, nil
		}
	}
}

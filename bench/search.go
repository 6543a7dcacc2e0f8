package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Goal is what a search looks for: the highest rate at which trials lose no
// more than a share of the frames. It is a loss goal of MLRsearch
// (draft-ietf-bmwg-mlrsearch): many short trials, of which some may fail.
type Goal struct {
	Name   string        `json:"name"`   // NDR or PDR
	Loss   float64       `json:"loss"`   // share of the intended load that may be lost
	Sum    time.Duration `json:"sum_ns"` // of trials at one load until it is decided
	Exceed float64       `json:"exceed"` // share of them that may lose more
	Width  float64       `json:"width"`  // relative distance of the bounds at the end
}

// Goals of a search, less strict than RFC 2544's single trial of a minute,
// which a shared machine never passes.
func Goals(trial time.Duration, trials int) []Goal {
	sum := time.Duration(trials) * trial
	return []Goal{
		{"PDR", 0.005, sum, 0.5, 0.02},
		{"NDR", 0, sum, 0.5, 0.02},
	}
}

// Found is the result of a search for a target.
type Found struct {
	Target     string   `json:"target"`
	Load       Load     `json:"load"` // rate 0
	Goal       Goal     `json:"goal"`
	Rate       float64  `json:"rate"`       // highest load that meets the goal, frames a second; 0 is none
	Upper      float64  `json:"upper"`      // lowest load that does not
	Throughput float64  `json:"throughput"` // frames a second that arrived at that load, at the exceed ratio's quantile
	MRR        float64  `json:"mrr"`        // that arrived with as many as the generator can send
	Ceiling    float64  `json:"ceiling"`    // that the generator sent then
	Latency    []Points `json:"latency"`    // at shares of this rate
	Limited    bool     `json:"tg_limited"` // the generator, not the target, is the limit
}

// Points are percentiles of the one-way latency from the planned time of each
// frame, in microseconds. 0 stands for one with fewer than ten samples beyond it.
type Points struct {
	Share   float64 `json:"share"` // of the PDR; 0 is as good as no load
	Rate    float64 `json:"rate"`
	Samples uint64  `json:"samples"`
	P50     float64 `json:"p50_us"`
	P90     float64 `json:"p90_us"`
	P99     float64 `json:"p99_us"`
	P999    float64 `json:"p999_us"`
	Max     float64 `json:"max_us"`
}

// limited is the share of the generator's ceiling above which a result says
// more about the generator.
const limited = 0.8

// Search finds NDR and PDR of every target, and its latency at 0, 10, 50 and 90
// percent of the PDR.
func Search(ctx context.Context, o Options) (*Report, error) {
	r := &Report{Schema: schema, Kind: "search", Meta: newMeta(&o)}
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
	for _, t := range o.Targets {
		for _, load := range o.Loads {
			if err == nil {
				s := &search{bed: b, target: t, load: load, o: &o, r: r, trials: map[float64][]Trial{}}
				err = s.run(ctx)
			}
		}
	}
	if ctx.Err() != nil {
		r.Partial, err = "interrupted", nil
	}
	r.Meta.End = time.Now().UTC()
	return r, err
}

// search is the search for one target and load. Goals share its trials.
type search struct {
	*bed
	target  Target
	load    Load
	o       *Options
	r       *Report
	trials  map[float64][]Trial // by rate
	mrr     float64
	ceiling float64
}

func (s *search) run(ctx context.Context) error {
	most, err := s.try(0)
	if err != nil {
		return err
	}
	s.mrr, s.ceiling = most.Rate(), float64(most.Sent)/most.Sending.Seconds()
	for _, g := range s.o.Goals {
		f, err := s.find(ctx, g)
		if err == nil && g.Name == "PDR" {
			err = s.latency(ctx, &f)
		}
		s.r.Found = append(s.r.Found, f)
		if err != nil {
			return err
		}
	}
	return nil
}

// try runs a trial at a rate.
func (s *search) try(rate float64) (Trial, error) {
	load := s.load
	load.Rate = rate
	t, err := s.udp(s.target, load, s.o.Warm, s.o.Window, sampled)
	if err != nil {
		return t, fmt.Errorf("%v: %w", s.target, err)
	}
	t.Round = len(s.trials[rate])
	s.r.Trials = append(s.r.Trials, t)
	s.trials[rate] = append(s.trials[rate], t)
	return t, nil
}

// find halves the distance between a load that meets the goal and one that does
// not, in proportion, until they are near enough.
func (s *search) find(ctx context.Context, g Goal) (Found, error) {
	f := Found{Target: s.target.String(), Load: s.load, Goal: g, MRR: s.mrr, Ceiling: s.ceiling}
	low, high := 0.0, s.ceiling*1.02
	for rate := s.mrr; ; {
		ok, err := s.meets(ctx, g, rate)
		if err != nil {
			return f, err
		}
		if ok {
			low = rate
		} else {
			high = rate
		}
		if low > 0 && (high-low)/high <= g.Width || high < 1000 {
			break
		}
		rate = (low + high) / 2
		if low == 0 {
			rate = high / 1.5 // nothing is known below yet
		}
	}
	f.Rate, f.Upper = low, high
	f.Throughput = s.throughput(g, low)
	f.Limited = f.Rate > limited*s.ceiling
	return f, nil
}

// meets tries a rate until it is decided whether it meets the goal: it does
// when trials enough for the goal's sum have, and does not when more than may
// exceed have.
func (s *search) meets(ctx context.Context, g Goal, rate float64) (bool, error) {
	var good, bad time.Duration
	for i := 0; ; i++ {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if i == len(s.trials[rate]) {
			s.o.say(fmt.Sprintf("%v, %s bytes, %s: %.0f kpps, trial %d", s.target, s.load.SizeName(), g.Name, rate/1e3, i+1))
			if _, err := s.try(rate); err != nil {
				return false, err
			}
		}
		if s.trials[rate][i].Loss() <= g.Loss {
			good += s.o.Window
		} else {
			bad += s.o.Window
		}
		switch limit := time.Duration(g.Exceed * float64(g.Sum)); {
		case bad > limit:
			return false, nil
		case good >= g.Sum-limit:
			return true, nil
		}
	}
}

// throughput is the conditional throughput at a load: what arrived in the trial
// that the exceed ratio's share of trials is worse than.
func (s *search) throughput(g Goal, rate float64) float64 {
	trials := slices.Clone(s.trials[rate])
	if len(trials) == 0 {
		return 0
	}
	slices.SortFunc(trials, func(a, b Trial) int { return cmp.Compare(a.Loss(), b.Loss()) })
	at := int((1 - g.Exceed) * float64(len(trials)))
	return rate * (1 - trials[min(at, len(trials)-1)].Loss())
}

// latencyShares are the loads, of the PDR, at which latency is measured.
var latencyShares = []float64{0, 0.1, 0.5, 0.9}

// idleRate in frames a second is as good as no load: each frame finds all
// asleep.
const idleRate = 2000

func (s *search) latency(ctx context.Context, f *Found) error {
	for _, share := range latencyShares {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rate := max(share*f.Rate, idleRate)
		s.o.say(fmt.Sprintf("%v: latency at %.0f kpps", s.target, rate/1e3))
		load := s.load
		load.Rate = rate
		// All frames at low rates, some 20,000 a second at high ones.
		t, err := s.udp(s.target, load, s.o.Warm, 4*s.o.Window, max(int(rate/20_000), 1))
		if err != nil {
			return err
		}
		t.Latency.Share, t.Latency.Rate = share, rate
		f.Latency = append(f.Latency, t.Latency)
	}
	return nil
}

// printFound writes the results of searches.
func (r *Report) printFound(w io.Writer) error {
	if len(r.Found) == 0 {
		return nil
	}
	g := r.Found[0].Goal
	fmt.Fprintf(w, "trials of %s, %v of them at each load, of which %.0f %% may lose more; bounds within %.0f %%\n",
		r.Meta.Window, g.Sum, 100*g.Exceed, 100*g.Width)
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "target\tbytes\tflows\tgoal\tload\tupper bound\tarrived\tMRR\tgenerator\t\t")
	for _, f := range r.Found {
		mark := ""
		if f.Limited {
			mark = "TG-LIMITED"
		}
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s(%.1f %%)\t%.0fk\t%.0fk\t%.0fk\t%.0fk\t%.0fk\t%s\t\n", f.Target, f.Load.SizeName(), f.Load.Flows,
			f.Goal.Name, 100*f.Goal.Loss, f.Rate/1e3, f.Upper/1e3, f.Throughput/1e3, f.MRR/1e3, f.Ceiling/1e3, mark)
	}
	fmt.Fprintln(tw, "latency\t\t\tof PDR\tload\tp50 µs\tp90\tp99\tp99.9\tmax\t\t")
	for _, f := range r.Found {
		for _, p := range f.Latency {
			fmt.Fprintf(tw, "%s\t%s\t%d\t%.0f %%\t%.0fk\t%s\t%s\t%s\t%s\t%.0f\t\t\n", f.Target, f.Load.SizeName(), f.Load.Flows,
				100*p.Share, p.Rate/1e3, micro(p.P50), micro(p.P90), micro(p.P99), micro(p.P999), p.Max)
		}
	}
	return tw.Flush()
}

func micro(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", v)
}

package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
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
	Round      int      `json:"round"`
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

	Spectrum []Quantile `json:"spectrum,omitempty"` // of latency trials
}

// Quantile is one point of a distribution.
type Quantile struct {
	Percentile float64 `json:"percentile"`
	Micros     float64 `json:"us"`
}

// limited is the share of the generator's ceiling above which a result says
// more about the generator.
const limited = 0.8

// Search finds NDR and PDR of every target, and its latency at 0, 10, 50 and 90
// percent of the PDR.
var Search = Measure{Name: "search", gated: true, once: true, takes: searchTakes, unfit: noUDP, steps: searchSteps}

// searchTakes is the time of a search: some eight loads for each goal, and the
// latencies.
func searchTakes(o *Options) time.Duration {
	var sum time.Duration
	for _, g := range o.Goals {
		trials := g.Sum / max(o.Window, 1)
		sum += 8 * trials * (o.Warm + o.Window + betweenTrials) * 2 / 3
	}
	return sum + time.Duration(len(latencyShares))*(o.Warm+4*o.Window+betweenTrials)
}

func searchSteps(o *Options) []step {
	var all []step
	for _, load := range o.Loads {
		all = append(all, step{name: load.SizeName() + " bytes", run: func(ctx context.Context, t *turn) error {
			s := &search{turn: t, load: load, trials: map[float64][]Trial{}}
			return s.run(ctx)
		}})
	}
	return all
}

// searching is the section of searches. Their trials are in forwarding.
type searching struct {
	Found []Found `json:"found,omitempty"`
}

// search is the search for one target and load. Goals share its trials.
type search struct {
	*turn
	load    Load
	trials  map[float64][]Trial // by rate
	mrr     float64
	ceiling float64
}

func (s *search) run(ctx context.Context) error {
	if err := s.prepare(s.load); err != nil {
		return err
	}
	most, err := s.try(0)
	if err != nil {
		return err
	}
	s.mrr, s.ceiling = most.Rate(), float64(most.Sent)/most.Sending.Seconds()
	for _, g := range s.options.Goals {
		f, err := s.find(ctx, g)
		if err == nil && g.Name == "PDR" {
			err = s.latency(ctx, &f)
		}
		s.report.Found = append(s.report.Found, f)
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
	t, err := s.udp(s.target, load, s.options.Warm, s.options.Window, sampled)
	if err != nil {
		return t, err
	}
	t.Measure, t.Round = "search", len(s.trials[rate])
	s.report.Trials = append(s.report.Trials, t)
	s.trials[rate] = append(s.trials[rate], t)
	return t, nil
}

// find halves the distance between a load that meets the goal and one that does
// not, in proportion, until they are near enough.
func (s *search) find(ctx context.Context, g Goal) (Found, error) {
	f := Found{Target: s.target.String(), Round: s.round, Load: s.load, Goal: g, MRR: s.mrr, Ceiling: s.ceiling}
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
			s.options.say(fmt.Sprintf("%v, %s bytes, %s: %.0f kpps, trial %d", s.target, s.load.SizeName(), g.Name, rate/1e3, i+1))
			if _, err := s.try(rate); err != nil {
				return false, err
			}
		}
		if s.trials[rate][i].Loss() <= g.Loss {
			good += s.options.Window
		} else {
			bad += s.options.Window
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
		s.options.say(fmt.Sprintf("%v: latency at %.0f kpps", s.target, rate/1e3))
		load := s.load
		load.Rate = rate
		// All frames at low rates, some 20,000 a second at high ones.
		t, err := s.udp(s.target, load, s.options.Warm, 4*s.options.Window, max(int(rate/20_000), 1))
		if err != nil {
			return err
		}
		t.Latency.Share, t.Latency.Rate = share, rate
		f.Latency = append(f.Latency, t.Latency)
	}
	return nil
}

func (r *searching) summarize(*Report) {}

func (r *searching) series() []series {
	var c collection
	for _, f := range r.Found {
		name := f.Goal.Name + "/" + f.Load.String()
		c.add(series{target: f.Target, name: name, unit: "pkt/s"}, f.Round, f.Rate)
		for _, p := range f.Latency {
			at := fmt.Sprintf("latency/%s/%.0f%%", f.Load, 100*p.Share)
			c.add(series{target: f.Target, name: at + "/p50", unit: "us", less: true}, f.Round, p.P50)
			c.add(series{target: f.Target, name: at + "/p99", unit: "us", less: true}, f.Round, p.P99)
		}
	}
	return c
}

// tables are that of the rates and that of the latencies.
func (r *searching) tables(rep *Report) []table {
	if len(r.Found) == 0 {
		return nil
	}
	g := r.Found[0].Goal
	rates := table{title: "Highest rates", note: fmt.Sprintf("trials of %s, %v of them at each load, of which %.0f %% may lose more; bounds within %.0f %%",
		rep.window("search"), g.Sum, 100*g.Exceed, 100*g.Width)}
	rates.head = []string{"target", "bytes", "flows", "goal", "load", "upper bound", "arrived", "MRR", "generator", ""}
	latency := table{title: "One-way latency", head: []string{"latency", "bytes", "flows", "of PDR", "load", "p50 µs", "p90", "p99", "p99.9", "max"}}
	for i := range r.Found {
		f := &r.Found[i]
		rates.rows = append(rates.rows, f.cells())
		for _, p := range f.Latency {
			latency.rows = append(latency.rows, []string{f.Target, f.Load.SizeName(), fmt.Sprint(f.Load.Flows),
				fmt.Sprintf("%.0f %%", 100*p.Share), kilo(p.Rate), micro(p.P50), micro(p.P90), micro(p.P99), micro(p.P999), fmt.Sprintf("%.0f", p.Max)})
		}
	}
	if len(latency.rows) == 0 {
		return []table{rates}
	}
	return []table{rates, latency}
}

func (f *Found) cells() []string {
	mark := ""
	if f.Limited {
		mark = "TG-LIMITED"
	}
	return []string{f.Target, f.Load.SizeName(), fmt.Sprint(f.Load.Flows), fmt.Sprintf("%s(%.1f %%)", f.Goal.Name, 100*f.Goal.Loss),
		kilo(f.Rate), kilo(f.Upper), kilo(f.Throughput), kilo(f.MRR), kilo(f.Ceiling), mark}
}

func kilo(v float64) string { return fmt.Sprintf("%.0fk", v/1e3) }

func micro(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", v)
}

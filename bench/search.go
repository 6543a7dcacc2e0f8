package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"
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

// SearchResult is the result of a search for a target.
type SearchResult struct {
	Target     string        `json:"target"`
	Round      int           `json:"round"`
	Load       load.Load     `json:"load"` // rate 0
	Goal       Goal          `json:"goal"`
	Rate       float64       `json:"rate"`       // highest load that meets the goal, frames a second; 0 is none
	Upper      float64       `json:"upper"`      // lowest load that does not
	Throughput float64       `json:"throughput"` // frames a second that arrived at that load, at the exceed ratio's quantile
	MRR        float64       `json:"mrr"`        // that arrived with as many as the generator can send
	Ceiling    float64       `json:"ceiling"`    // that the generator sent then
	Latency    []load.Points `json:"latency"`    // at shares of this rate
	Limited    bool          `json:"tg_limited"` // the generator, not the target, is the limit
}

// limited is the share of the generator's ceiling above which a result says
// more about the generator.
const limited = 0.8

// Search finds NDR and PDR of every target, and its latency at 0, 10, 50 and 90
// percent of the PDR.
var Search = Measure{Name: "search", gated: true, untwinned: true, estimate: searchEstimate, unsupported: needsUDP, steps: searchSteps}

// searchEstimate is the time of a search: some eight loads for each goal, and the
// latencies.
func searchEstimate(o *Options) time.Duration {
	var sum time.Duration
	for _, g := range o.Goals {
		trials := g.Sum / max(o.Window, 1)
		sum += 8 * trials * (o.Warm + o.Window + betweenTrials) * 2 / 3
	}
	return sum + time.Duration(len(latencyShares))*(o.Warm+4*o.Window+betweenTrials)
}

func searchSteps(o *Options) []step {
	var all []step
	for _, offer := range o.Loads {
		all = append(all, step{name: offer.SizeName() + " bytes", run: func(ctx context.Context, t *run) error {
			s := &search{run: t, load: offer, trials: map[float64][]load.Trial{}}
			return s.measure(ctx)
		}})
	}
	return all
}

// SearchResults is the section of searches. Their trials are in forwarding.
type SearchResults struct {
	Found []SearchResult `json:"found,omitempty"`
}

// search is the search for one target and load. Goals share its trials.
type search struct {
	*run
	load    load.Load
	trials  map[float64][]load.Trial // by rate
	mrr     float64
	ceiling float64
}

func (s *search) measure(ctx context.Context) error {
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
func (s *search) try(rate float64) (load.Trial, error) {
	offer := s.load
	offer.Rate = rate
	t, err := s.udp(s.target, offer, s.options.Warm, s.options.Window, sampled)
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
func (s *search) find(ctx context.Context, g Goal) (SearchResult, error) {
	f := SearchResult{Target: s.target.String(), Round: s.round, Load: s.load, Goal: g, MRR: s.mrr, Ceiling: s.ceiling}
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
	slices.SortFunc(trials, func(a, b load.Trial) int { return cmp.Compare(a.Loss(), b.Loss()) })
	at := int((1 - g.Exceed) * float64(len(trials)))
	return rate * (1 - trials[min(at, len(trials)-1)].Loss())
}

// latencyShares are the loads, of the PDR, at which latency is measured.
var latencyShares = []float64{0, 0.1, 0.5, 0.9}

// idleRate in frames a second is as good as no load: each frame finds all
// asleep.
const idleRate = 2000

func (s *search) latency(ctx context.Context, f *SearchResult) error {
	for _, share := range latencyShares {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rate := max(share*f.Rate, idleRate)
		s.options.say(fmt.Sprintf("%v: latency at %.0f kpps", s.target, rate/1e3))
		offer := s.load
		offer.Rate = rate
		// All frames at low rates, some 20,000 a second at high ones.
		t, err := s.udp(s.target, offer, s.options.Warm, 4*s.options.Window, max(int(rate/20_000), 1))
		if err != nil {
			return err
		}
		t.Latency.Share, t.Latency.Rate = share, rate
		f.Latency = append(f.Latency, t.Latency)
	}
	return nil
}

func (r *SearchResults) summarize(*Report) {}

func (r *SearchResults) series() []report.Series {
	var c report.Collection
	for _, f := range r.Found {
		name := f.Goal.Name + "/" + f.Load.String()
		c.Add(report.Series{Target: f.Target, Name: name, Unit: "pkt/s"}, f.Round, f.Rate)
		for _, p := range f.Latency {
			at := fmt.Sprintf("latency/%s/%.0f%%", f.Load, 100*p.Share)
			c.Add(report.Series{Target: f.Target, Name: at + "/p50", Unit: "us", Less: true}, f.Round, p.P50)
			c.Add(report.Series{Target: f.Target, Name: at + "/p99", Unit: "us", Less: true}, f.Round, p.P99)
		}
	}
	return c
}

// tables are that of the rates and that of the latencies.
func (r *SearchResults) tables(rep *Report) []report.Table {
	if len(r.Found) == 0 {
		return nil
	}
	g := r.Found[0].Goal
	rates := report.Table{Title: "Highest rates", Note: fmt.Sprintf("trials of %s, %v of them at each load, of which %.0f %% may lose more; bounds within %.0f %%",
		rep.Window("search"), g.Sum, 100*g.Exceed, 100*g.Width)}
	rates.Head = []string{"target", "bytes", "flows", "goal", "load", "upper bound", "arrived", "MRR", "generator", ""}
	latency := report.Table{Title: "One-way latency", Head: []string{"latency", "bytes", "flows", "of PDR", "load", "p50 µs", "p90", "p99", "p99.9", "max"}}
	for i := range r.Found {
		f := &r.Found[i]
		rates.Rows = append(rates.Rows, f.cells())
		for _, p := range f.Latency {
			latency.Rows = append(latency.Rows, []string{f.Target, f.Load.SizeName(), fmt.Sprint(f.Load.Flows),
				fmt.Sprintf("%.0f %%", 100*p.Share), thousands(p.Rate), microseconds(p.P50), microseconds(p.P90), microseconds(p.P99), microseconds(p.P999), fmt.Sprintf("%.0f", p.Max)})
		}
	}
	if len(latency.Rows) == 0 {
		return []report.Table{rates}
	}
	return []report.Table{rates, latency}
}

func (f *SearchResult) cells() []string {
	mark := ""
	if f.Limited {
		mark = "TG-LIMITED"
	}
	return []string{f.Target, f.Load.SizeName(), fmt.Sprint(f.Load.Flows), fmt.Sprintf("%s(%.1f %%)", f.Goal.Name, 100*f.Goal.Loss),
		thousands(f.Rate), thousands(f.Upper), thousands(f.Throughput), thousands(f.MRR), thousands(f.Ceiling), mark}
}

func thousands(v float64) string { return fmt.Sprintf("%.0fk", v/1e3) }

func microseconds(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f", v)
}

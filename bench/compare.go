package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"text/tabwriter"
)

// Verdict is what can be said of a difference between two runs.
type Verdict string

// Verdicts. A difference that is there but too small to matter is Equivalent.
const (
	Faster       Verdict = "faster"
	Slower       Verdict = "slower"
	Equivalent   Verdict = "equivalent"
	Inconclusive Verdict = "inconclusive"
	Invalid      Verdict = "INVALID" // the target does not forward rightly
)

// Change is one measure of two runs.
type Change struct {
	Target  string   `json:"target"`
	Measure string   `json:"measure"`
	Old     float64  `json:"old"` // medians
	New     float64  `json:"new"`
	Better  Estimate `json:"better"` // times as good, over 1 is faster
	P       float64  `json:"p"`
	Claim   float64  `json:"claim"` // smallest relative difference that can be claimed
	Verdict Verdict  `json:"verdict"`
}

const (
	significant = 0.05
	// alike is the relative difference within which two runs are equivalent.
	alike = 0.03
	// fewest is how many trials it takes to call anything equivalent.
	fewest = 4
)

// Compare compares the measures that both reports have, trial by trial.
func Compare(old, fresh *Report) []Change {
	var all []Change
	before, after := old.series(), fresh.series()
	for _, m := range before {
		if n := find(after, m.target, &m); n != nil && !fresh.target(m.target).Again {
			c := m.change(n, old, fresh)
			if old.invalid(m.target) || fresh.invalid(m.target) {
				c.Verdict = Invalid
			}
			all = append(all, c)
		}
	}
	return all
}

// change judges two samples of a measure, which two reports hold.
func (m *series) change(fresh *series, old, new *Report) Change {
	c := Change{Target: m.target, Measure: m.name + " " + m.unit, Old: median(m.values), New: median(fresh.values)}
	good, bad := fresh.compared(), m.compared()
	if m.less {
		good, bad = bad, good
	}
	c.Better = quotient(good, bad)
	c.P = pValue(m.compared(), fresh.compared())
	c.Claim = max(old.claimOf(m), new.claimOf(fresh))
	c.Verdict = c.judge()
	return c
}

// claimOf is the smallest difference that a report may claim of a series: from
// its A/A run, or else from the series itself.
func (r *Report) claimOf(s *series) float64 {
	if c, ok := r.claim(s); ok {
		return c
	}
	return s.itself()
}

// itself is by how much the halves of a run differ from each other, though they
// measured the same (A/A): no smaller difference from another run is worth a
// word.
func (m *series) itself() float64 {
	var halves [2][]float64
	for i, v := range m.compared() {
		halves[i%2] = append(halves[i%2], v)
	}
	if len(halves[1]) == 0 {
		return 1
	}
	return math.Abs(median(halves[0])/median(halves[1]) - 1)
}

func (c *Change) judge() Verdict {
	by := c.Better.Median - 1
	switch {
	case c.P < significant && by > c.Claim && c.Better.Lo > 1:
		return Faster
	case c.P < significant && -by > c.Claim && c.Better.Hi < 1:
		return Slower
	case c.Better.N >= fewest && c.Better.Lo > 1-alike && c.Better.Hi < 1+alike:
		return Equivalent
	}
	return Inconclusive
}

// quotient is the quotient of the medians of two samples, with its bootstrap
// interval.
func quotient(a, b []float64) Estimate {
	r := rand.New(rand.NewPCG(2, uint64(len(a))))
	draw := func(v []float64) float64 {
		d := make([]float64, len(v))
		for i := range d {
			d[i] = v[r.IntN(len(v))]
		}
		return median(d)
	}
	all := make([]float64, resamples)
	for i := range all {
		all[i] = draw(a) / draw(b)
	}
	slices.Sort(all)
	return Estimate{N: min(len(a), len(b)), Median: median(a) / median(b),
		Lo: all[resamples*25/1000], Hi: all[resamples*975/1000]}
}

// PrintChanges writes changes as a table.
func PrintChanges(w io.Writer, changes []Change) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "target\tmeasure\told\tnew\tbetter by\t95 %\tp\tsmallest claim\tverdict\t")
	for _, c := range changes {
		fmt.Fprintf(tw, "%s\t%s\t%.4g\t%.4g\t%+.1f %%\t[%+.1f, %+.1f]\t%.3f\t%.1f %%\t%s\t\n", c.Target, c.Measure, c.Old, c.New,
			100*(c.Better.Median-1), 100*(c.Better.Lo-1), 100*(c.Better.Hi-1), c.P, 100*c.Claim, c.Verdict)
	}
	return tw.Flush()
}

// CompareHTML writes changes as a page like that of a report: the older run is the
// baseline.
func CompareHTML(w io.Writer, old, fresh *Report, changes []Change) error {
	r := &Report{Kind: "compare", Meta: fresh.Meta, Noise: fresh.Noise, Parts: fresh.Parts}
	for _, c := range changes {
		r.Beside = append(r.Beside, Beside{Baseline: "old", Change: c})
	}
	r.note(fmt.Sprintf("old: %s, revision %s, %v", old.Meta.Start.Format("2006-01-02 15:04"), old.Meta.Revision, old.Noise))
	r.note(fmt.Sprintf("new: %s, revision %s, %v", fresh.Meta.Start.Format("2006-01-02 15:04"), fresh.Meta.Revision, fresh.Noise))
	r.note("Two runs at different times are as different as the machine was; --against measures two binaries in one run.")
	return r.HTML(w)
}

// Benchstat writes all trials in Go's benchmark format, a line each, for
// benchstat and its like.
func (r *Report) Benchstat(w io.Writer) error {
	fmt.Fprintf(w, "goos: linux\npkg: uvs/bench\ncpu: %s\n", r.Meta.CPU)
	for _, m := range r.series() {
		for _, v := range m.values {
			if _, err := fmt.Fprintf(w, "BenchmarkForward/%s/%s 1 %g %s\n", m.target, m.name, v, m.unit); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadReport reads what Report.Write wrote.
func ReadReport(rd io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(rd).Decode(&r); err != nil {
		return nil, fmt.Errorf("bench: read report: %w", err)
	}
	if r.Schema != schema {
		return nil, fmt.Errorf("bench: report of schema %d, this version reads %d", r.Schema, schema)
	}
	return &r, nil
}

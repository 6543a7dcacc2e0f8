package report

import (
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

// Compare compares the measures that both runs have, trial by trial.
func Compare(old, fresh *Results) []Change {
	var all []Change
	for _, m := range old.Series {
		if n := find(fresh.Series, m.Target, &m); n != nil && !fresh.Target(m.Target).Again {
			c := m.change(n, old.Run, fresh.Run)
			if old.invalid(m.Target) || fresh.invalid(m.Target) {
				c.Verdict = Invalid
			}
			all = append(all, c)
		}
	}
	return all
}

// change judges two samples of a measure, which two reports hold.
func (m *Series) change(fresh *Series, old, new *Run) Change {
	c := Change{Target: m.Target, Measure: m.Name + " " + m.Unit, Old: median(m.Values), New: median(fresh.Values)}
	good, bad := fresh.compared(), m.compared()
	if m.Less {
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
func (r *Run) claimOf(s *Series) float64 {
	if c, ok := r.claim(s); ok {
		return c
	}
	return s.itself()
}

// itself is by how much the halves of a run differ from each other, though they
// measured the same (A/A): no smaller difference from another run is worth a
// word.
func (m *Series) itself() float64 {
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
func CompareHTML(w io.Writer, old, fresh *Run, changes []Change) error {
	r := &Run{Kind: "compare", Meta: fresh.Meta, Noise: fresh.Noise, Parts: fresh.Parts}
	for _, c := range changes {
		r.Comparisons = append(r.Comparisons, Comparison{Baseline: "old", Change: c})
	}
	r.Note(fmt.Sprintf("old: %s, revision %s, %v", old.Meta.Start.Format("2006-01-02 15:04"), old.Meta.Revision, old.Noise))
	r.Note(fmt.Sprintf("new: %s, revision %s, %v", fresh.Meta.Start.Format("2006-01-02 15:04"), fresh.Meta.Revision, fresh.Noise))
	r.Note("Two runs at different times are as different as the machine was; --against measures two binaries in one run.")
	d := Document{Results: &Results{Run: r}}
	return d.HTML(w)
}

package report

import (
	"fmt"
	"slices"
	"strings"
)

// Limit is what a scenario demands of a measure. Its name says which number, and
// with max_ or min_ on which side of the bound it has to be.
type Limit struct {
	Name  string  `json:"name"`
	Bound float64 `json:"bound"`
}

// Judged is a limit held against what one target was measured to do.
type Judged struct {
	Measure string `json:"measure"`
	Target  string `json:"target"`
	Of      string `json:"of,omitempty"` // load, kind of connection, scheduler
	Limit
	Value      Estimate `json:"value"`
	Pass       bool     `json:"pass"`                 // by the median of all rounds
	Sure       bool     `json:"sure"`                 // the whole interval is on the same side
	Incomplete bool     `json:"incomplete,omitempty"` // rounds are missing: it is not judged
}

// JudgeLimits holds every part's limits against its numbers, which values gives
// without a bound; it reports false for a limit that the measure does not know. A
// target that did not forward rightly, and a limit with nothing to hold it against,
// fail. A target that did not go through all rounds passes no limit.
func (r *Results) JudgeLimits(values func(measure, name string) ([]Judged, bool)) {
	r.Limits = nil
	for i := range r.Parts {
		p := &r.Parts[i]
		for _, l := range p.Limits {
			all, known := values(p.Measure, l.Name)
			if !known {
				continue
			}
			for _, t := range r.unmeasured(p, all) {
				all = append(all, Judged{Target: t, Value: NewEstimate(nil)})
			}
			for _, j := range all {
				j.Measure, j.Limit = p.Measure, l
				j.Incomplete = !r.complete(p.Measure, j.Target)
				j.judge(r.invalid(j.Target))
				r.Limits = append(r.Limits, j)
			}
		}
	}
}

// unmeasured are the targets of a part that failed before there was anything to
// judge, or "nothing" if that is all there is.
func (r *Results) unmeasured(p *Setting, have []Judged) []string {
	var names []string
	for _, f := range r.Failures {
		has := func(j Judged) bool { return j.Target == f.Target }
		if f.Measure == p.Measure && f.Target != "" && !slices.ContainsFunc(have, has) && !r.Target(f.Target).Again {
			names = append(names, f.Target)
		}
	}
	if len(have)+len(names) == 0 {
		names = []string{"nothing"}
	}
	return names
}

func (j *Judged) judge(invalid bool) {
	keeps := func(v float64) bool {
		if strings.HasPrefix(j.Name, "min_") {
			return v >= j.Bound
		}
		return v <= j.Bound
	}
	j.Pass = keeps(j.Value.Median) && !invalid && !j.Incomplete
	j.Sure = invalid || keeps(j.Value.Lo) == keeps(j.Value.Hi)
}

// Failed are the limits that were not kept.
func (r *Run) Failed() []Judged {
	return slices.DeleteFunc(slices.Clone(r.Limits), func(j Judged) bool { return j.Pass })
}

func (r *Run) limitsTable() Table {
	t := Table{Title: "Limits", Head: []string{"measure", "target", "of", "limit", "bound", "value", "95 %", "verdict"}}
	for i := range r.Limits {
		j := &r.Limits[i]
		t.Rows = append(t.Rows, []string{j.Measure, j.Target, j.Of, j.Name, Short(j.Bound), Short(j.Value.Median),
			fmt.Sprintf("[%s, %s]", Short(j.Value.Lo), Short(j.Value.Hi)), j.Verdict()})
	}
	return t
}

// Verdict is pass or FAIL, with "?" where the interval is on both sides, or
// "incomplete" where rounds are missing.
func (j *Judged) Verdict() string {
	v := "FAIL"
	switch {
	case j.Incomplete:
		return "incomplete"
	case j.Pass:
		v = "pass"
	}
	if !j.Sure {
		v += " ?"
	}
	return v
}

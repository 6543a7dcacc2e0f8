package bench

import (
	"fmt"
	"math"
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
	Value Estimate `json:"value"`
	Pass  bool     `json:"pass"` // by the median
	Sure  bool     `json:"sure"` // the whole interval is on the same side
}

// limitKind is one name that a limit may have.
type limitKind struct {
	measure, name, about string
	values               func(*Report) []Judged // without bound
}

var limitKinds = []limitKind{
	{"quick", "max_ratio_to_null", "CPU time of a packet to that of the null forwarder, such as 1.10", rowValues(func(r *Row) Estimate { return r.Ratio })},
	{"quick", "max_loss", "share of the intended load that is lost, such as 0.01", rowValues(func(r *Row) Estimate { return r.Loss })},
	{"quick", "max_cpu_ns", "CPU time of a packet in nanoseconds", rowValues(func(r *Row) Estimate { return r.CPU })},
	{"quick", "min_pps", "frames a second that arrive", rowValues(func(r *Row) Estimate { return r.Rate })},
	{"tcp", "min_times_baseline", "rate to that of the baseline, such as 1.6", besideValues(false)},
	{"tcp", "max_cpu_to_baseline", "CPU time of each connection, request or byte to that of the baseline", besideValues(true)},
	{"tcp", "max_failed", "connections that failed", tcpFailed},
	{"search", "min_ndr", "frames a second with no loss", foundValues("NDR")},
	{"search", "min_pdr", "frames a second with at most 0.5 % loss", foundValues("PDR")},
	{"fairness", "min_jain", "Jain's index, such as 0.999", jainValues},
	{"sustain", "min_last_to_first", "connections/s of the last minute to those of the first, such as 0.9", sustainedValues(func(s *Sustained) float64 { return s.Ratio })},
	{"sustain", "max_failed", "connections that failed", sustainedValues(func(s *Sustained) float64 { return float64(s.Failed) })},
	{"disrupt", "max_broken", "connections broken on servers that stayed", brokenValues},
}

// CheckLimit says whether a measure knows a limit.
func CheckLimit(measure, name string) error {
	var known []string
	for _, k := range limitKinds {
		if k.measure != measure {
			continue
		}
		if k.name == name {
			return nil
		}
		known = append(known, k.name)
	}
	if known == nil {
		return fmt.Errorf("%s has no limits", measure)
	}
	return fmt.Errorf("%s has no limit %s: one of %s", measure, name, strings.Join(known, ", "))
}

// judgeLimits holds every part's limits against its numbers. A target that did not
// forward rightly, and a limit with nothing to hold it against, fail.
func (r *Report) judgeLimits() []Judged {
	var all []Judged
	for i := range r.Parts {
		p := &r.Parts[i]
		for _, l := range p.Limits {
			k := slices.IndexFunc(limitKinds, func(k limitKind) bool { return k.measure == p.Measure && k.name == l.Name })
			if k < 0 {
				continue
			}
			values := limitKinds[k].values(r)
			if len(values) == 0 && r.Partial == "" {
				values = []Judged{{Target: "nothing", Value: estimate(nil)}}
			}
			for _, j := range values {
				j.Measure, j.Limit = p.Measure, l
				j.judge(r.invalid(j.Target))
				all = append(all, j)
			}
		}
	}
	return all
}

func (j *Judged) judge(invalid bool) {
	keeps := func(v float64) bool {
		if strings.HasPrefix(j.Name, "min_") {
			return v >= j.Bound
		}
		return v <= j.Bound
	}
	j.Pass = keeps(j.Value.Median) && !invalid
	j.Sure = invalid || keeps(j.Value.Lo) == keeps(j.Value.Hi)
}

// Failed are the limits that were not kept.
func (r *Report) Failed() []Judged {
	return slices.DeleteFunc(slices.Clone(r.Limits), func(j Judged) bool { return j.Pass })
}

func (r *Report) limitsTable() table {
	t := table{title: "Limits", head: []string{"measure", "target", "of", "limit", "bound", "value", "95 %", "verdict"}}
	for i := range r.Limits {
		j := &r.Limits[i]
		t.rows = append(t.rows, []string{j.Measure, j.Target, j.Of, j.Name, short(j.Bound), short(j.Value.Median),
			fmt.Sprintf("[%s, %s]", short(j.Value.Lo), short(j.Value.Hi)), j.Verdict()})
	}
	return t
}

// Verdict is pass or FAIL, and "?" where the interval is on both sides.
func (j *Judged) Verdict() string {
	v := "FAIL"
	if j.Pass {
		v = "pass"
	}
	if !j.Sure {
		v += " ?"
	}
	return v
}

// rowValues are one number of the rows of all that is not a null forwarder.
func rowValues(of func(*Row) Estimate) func(*Report) []Judged {
	return func(r *Report) []Judged {
		var all []Judged
		for i := range r.Rows {
			row := &r.Rows[i]
			if t := r.target(row.Target); t.Method == Null || t.Again || of(row).N == 0 {
				continue
			}
			all = append(all, Judged{Target: row.Target, Of: row.Load.String(), Value: of(row)})
		}
		return all
	}
}

// besideValues are the ratios of the directors' TCP numbers to the baseline's:
// of CPU times or of rates.
func besideValues(cpu bool) func(*Report) []Judged {
	return func(r *Report) []Judged {
		var all []Judged
		for i := range r.Beside {
			b := &r.Beside[i]
			name, unit, _ := strings.Cut(b.Measure, " ")
			kind, _, _ := strings.Cut(name, "/")
			if !slices.Contains(Kinds, Kind(kind)) || (unit == "ns/op") != cpu || !r.target(b.Target).ours() {
				continue
			}
			v := b.Better
			if cpu {
				v = Estimate{N: v.N, Median: 1 / v.Median, Lo: 1 / v.Hi, Hi: 1 / v.Lo}
			}
			all = append(all, Judged{Target: b.Target, Of: kind, Value: v})
		}
		return all
	}
}

func tcpFailed(r *Report) []Judged {
	var all []Judged
	for i := range r.TCPRows {
		row := &r.TCPRows[i]
		if t := r.target(row.Target); t.ours() && !t.Again {
			all = append(all, Judged{Target: row.Target, Of: string(row.Kind), Value: exactly(float64(row.Failed))})
		}
	}
	return all
}

func foundValues(goal string) func(*Report) []Judged {
	return func(r *Report) []Judged {
		var all []Judged
		for i := range r.Found {
			f := &r.Found[i]
			if f.Goal.Name == goal && r.target(f.Target).Method != Null {
				all = append(all, Judged{Target: f.Target, Of: f.Load.String(), Value: Estimate{N: 1, Median: f.Rate, Lo: f.Rate, Hi: max(f.Rate, f.Upper)}})
			}
		}
		return all
	}
}

func jainValues(r *Report) []Judged {
	var all []Judged
	for i := range r.Sharing {
		all = append(all, Judged{Target: r.Sharing[i].Target, Of: r.Sharing[i].Scheduler, Value: exactly(r.Sharing[i].Jain)})
	}
	return all
}

func brokenValues(r *Report) []Judged {
	var all []Judged
	for i := range r.Disruptions {
		all = append(all, Judged{Target: r.Disruptions[i].Target, Of: r.Disruptions[i].Scheduler + "/" + string(r.Disruptions[i].Event), Value: exactly(float64(r.Disruptions[i].Broken))})
	}
	return all
}

// exactly is an estimate of what was counted.
func exactly(v float64) Estimate {
	if math.IsNaN(v) {
		return estimate(nil)
	}
	return Estimate{N: 1, Median: v, Lo: v, Hi: v}
}

package bench

import (
	"fmt"
	"slices"
	"strings"

	"uvs/bench/load"
	"uvs/bench/report"
)

// limitKind is one name that a limit may have.
type limitKind struct {
	measure, name, about string
	values               func(*Report) []report.Judged // without bound
}

var limitKinds = []limitKind{
	{"quick", "max_ratio_to_null", "CPU time of a packet to that of the null forwarder, such as 1.10", rowValues(func(r *Row) report.Estimate { return r.Ratio })},
	{"quick", "max_loss", "share of the intended load that is lost, such as 0.01", rowValues(func(r *Row) report.Estimate { return r.Loss })},
	{"quick", "max_cpu_ns", "CPU time of a packet in nanoseconds", rowValues(func(r *Row) report.Estimate { return r.CPU })},
	{"quick", "min_pps", "frames a second that arrive", rowValues(func(r *Row) report.Estimate { return r.Rate })},
	{"tcp", "min_times_baseline", "rate to that of the baseline, such as 1.6", besideValues(false)},
	{"tcp", "max_cpu_to_baseline", "CPU time of each connection, request or byte to that of the baseline", besideValues(true)},
	{"tcp", "max_failed", "connections that failed", tcpFailed},
	{"search", "min_ndr", "frames a second with no loss", foundValues("NDR")},
	{"search", "min_pdr", "frames a second with at most 0.5 % loss", foundValues("PDR")},
	{"fairness", "min_jain", "Jain's index, such as 0.999", jainValues},
	{"sustain", "min_last_to_first", "connections/s of the last minute to those of the first, such as 0.9", sustainedValues(func(s *SustainTrial) float64 { return s.Ratio })},
	{"sustain", "max_failed", "connections that failed", sustainedValues(func(s *SustainTrial) float64 { return float64(s.Failed) })},
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

// limitValues are the numbers that a limit of a measure is held against, and whether
// the measure knows it.
func (r *Report) limitValues(measure, name string) ([]report.Judged, bool) {
	for _, k := range limitKinds {
		if k.measure == measure && k.name == name {
			return k.values(r), true
		}
	}
	return nil, false
}

// rowValues are one number of the rows of all that is not a null forwarder.
func rowValues(of func(*Row) report.Estimate) func(*Report) []report.Judged {
	return func(r *Report) []report.Judged {
		var all []report.Judged
		for i := range r.Rows {
			row := &r.Rows[i]
			if t := r.Target(row.Target); t.Method == load.Null || t.Again || of(row).N == 0 {
				continue
			}
			all = append(all, report.Judged{Target: row.Target, Of: row.Load.String(), Value: of(row)})
		}
		return all
	}
}

// besideValues are the ratios of the directors' TCP numbers to the baseline's:
// of CPU times or of rates.
func besideValues(cpu bool) func(*Report) []report.Judged {
	return func(r *Report) []report.Judged {
		var all []report.Judged
		for i := range r.Comparisons {
			b := &r.Comparisons[i]
			name, unit, _ := strings.Cut(b.Measure, " ")
			kind, _, _ := strings.Cut(name, "/")
			if !slices.Contains(load.Kinds, load.Kind(kind)) || (unit == "ns/op") != cpu || !r.Target(b.Target).IsDirector() {
				continue
			}
			v := b.Better
			if cpu {
				v = report.Estimate{N: v.N, Median: 1 / v.Median, Lo: 1 / v.Hi, Hi: 1 / v.Lo}
			}
			all = append(all, report.Judged{Target: b.Target, Of: kind, Value: v})
		}
		return all
	}
}

func tcpFailed(r *Report) []report.Judged {
	var all []report.Judged
	for i := range r.TCPRows {
		row := &r.TCPRows[i]
		if t := r.Target(row.Target); t.IsDirector() && !t.Again {
			all = append(all, report.Judged{Target: row.Target, Of: string(row.Kind), Value: report.Exactly(float64(row.Failed))})
		}
	}
	return all
}

func foundValues(goal string) func(*Report) []report.Judged {
	return func(r *Report) []report.Judged {
		var all []report.Judged
		for i := range r.Found {
			f := &r.Found[i]
			if f.Goal.Name == goal && r.Target(f.Target).Method != load.Null {
				all = append(all, report.Judged{Target: f.Target, Of: f.Load.String(), Value: report.Estimate{N: 1, Median: f.Rate, Lo: f.Rate, Hi: max(f.Rate, f.Upper)}})
			}
		}
		return all
	}
}

func jainValues(r *Report) []report.Judged {
	var all []report.Judged
	for i := range r.Sharing {
		all = append(all, report.Judged{Target: r.Sharing[i].Target, Of: r.Sharing[i].Scheduler, Value: report.Exactly(r.Sharing[i].Jain)})
	}
	return all
}

func brokenValues(r *Report) []report.Judged {
	var all []report.Judged
	for i := range r.Disruptions {
		all = append(all, report.Judged{Target: r.Disruptions[i].Target, Of: r.Disruptions[i].Scheduler + "/" + string(r.Disruptions[i].Event), Value: report.Exactly(float64(r.Disruptions[i].Broken))})
	}
	return all
}

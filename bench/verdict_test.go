package bench

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/perf/benchfmt"

	"uvs/bench/load"
	"uvs/bench/report"
)

func TestReportsAreReadByBenchstatAndByOurselves(t *testing.T) {
	r := &Report{Run: report.Run{Schema: report.Schema}, UDPResults: UDPResults{Trials: []load.Trial{{Measure: "quick", Target: "nat", Load: load.Load{Size: 64, Flows: 1}, Window: 1e9, Arrived: 1000, CPU: 1e6}}}}
	r.summarize()
	var text, file bytes.Buffer
	if err := r.Benchstat(&text); err != nil {
		t.Fatal(err)
	}
	rd := benchfmt.NewReader(&text, "")
	n := 0
	for rd.Scan() {
		if _, ok := rd.Result().(*benchfmt.Result); !ok {
			t.Errorf("benchfmt: %v", rd.Result())
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d results, want a rate and a CPU time", n)
	}
	if err := r.Write(&file); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadReport(&file); err != nil {
		t.Error(err)
	}
}

// madeUp is a report of a run with the null forwarder, its twin and one director,
// whose packets cost so many times the null forwarder's, with noise of each trial
// and of each round.
func madeUp(seed uint64, times, noise float64, rounds int) *Report {
	r := rand.New(rand.NewPCG(seed, 1))
	null, nat := load.Target{Method: load.Null}, load.Target{Method: load.NAT}
	again := null
	again.Again = true
	rep := &Report{Run: report.Run{Schema: report.Schema, Parts: []report.Setting{{Measure: "quick", Targets: []load.Target{null, nat, again}}}}}
	for round := range rounds {
		drift := 1 + 0.3*r.Float64()
		for _, t := range []struct {
			target load.Target
			cost   float64
		}{{null, 1}, {nat, times}, {again, 1}} {
			cpu := 800 * t.cost * drift * math.Exp(noise*r.NormFloat64())
			rep.Trials = append(rep.Trials, load.Trial{Measure: "quick", Target: t.target.String(), Load: load.Load{Size: 64, Flows: 1, Rate: 1e5},
				Round: round, Window: 1e9, Intended: 1e6, Sent: 1e6, Received: 1e6, Arrived: 1e6, CPU: 1e6 * timeOf(cpu)})
		}
	}
	rep.summarize()
	return rep
}

func timeOf(ns float64) time.Duration { return time.Duration(math.Round(ns)) }

func verdictOf(r *Report) report.Verdict {
	for _, b := range r.Comparisons {
		if b.Target == "nat" {
			return b.Verdict
		}
	}
	return ""
}

// Two in fifty may: the rank test alone would let five.
func TestNothingIsClaimedOfTheSameThing(t *testing.T) {
	for _, noise := range []float64{0.01, 0.05, 0.2} {
		claimed := 0
		for seed := range uint64(50) {
			if v := verdictOf(madeUp(seed, 1, noise, 8)); v == report.Faster || v == report.Slower {
				claimed++
			}
		}
		if claimed > 2 {
			t.Errorf("noise of %.0f %%: %d of 50 runs claim a difference of equals", 100*noise, claimed)
		}
	}
}

func TestARealDifferenceIsFound(t *testing.T) {
	for _, test := range []struct {
		times float64
		want  report.Verdict
	}{{1.25, report.Slower}, {0.75, report.Faster}, {1, report.Equivalent}} {
		found := 0
		for seed := range uint64(20) {
			if verdictOf(madeUp(seed, test.times, 0.01, 12)) == test.want {
				found++
			}
		}
		if found < 18 {
			t.Errorf("times %.2f: %d of 20 runs say %s", test.times, found, test.want)
		}
	}
}

package bench

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestMedianAndIntervalOfKnownValues(t *testing.T) {
	tests := []struct {
		name           string
		values         []float64
		median, lo, hi float64
	}{
		{"an odd number has a middle", []float64{3, 1, 2}, 2, 1, 3},
		{"of an even number it is between the two in the middle", []float64{4, 1, 3, 2}, 2.5, 1, 4},
		{"one value is its own interval", []float64{7}, 7, 7, 7},
		{"an outlier does not move the median", []float64{10, 10, 10, 10, 10, 10, 10, 1000}, 10, 10, 10},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			e := estimate(test.values)
			if e.N != len(test.values) || e.Median != test.median || e.Lo != test.lo || e.Hi != test.hi {
				t.Errorf("%+v, want median %g [%g, %g]", e, test.median, test.lo, test.hi)
			}
		})
	}
	if e := estimate(nil); e.N != 0 || !math.IsNaN(e.Median) {
		t.Errorf("of nothing: %+v", e)
	}
}

// TestIntervalHoldsTheTruth draws samples of which the true median is known: some
// 95 in a hundred intervals hold it. The percentile bootstrap of so few values
// falls a little short.
func TestIntervalHoldsTheTruth(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	held := 0
	const samples = 200
	for range samples {
		v := make([]float64, 12)
		for i := range v {
			v[i] = math.Exp(r.NormFloat64())
		}
		if e := estimate(v); e.Lo <= 1 && 1 <= e.Hi {
			held++
		}
	}
	if share := float64(held) / samples; share < 0.90 || share > 0.99 {
		t.Errorf("%.1f %% of the intervals hold the median", 100*share)
	}
}

func TestRankTestOfKnownSamples(t *testing.T) {
	tests := []struct {
		name string
		a, b []float64
		want float64 // exact, two-sided
	}{
		{"four against four, all smaller: 2 of 70 orders", []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{"three against three, all smaller: 2 of 20", []float64{1, 2, 3}, []float64{4, 5, 6}, 2.0 / 20},
		{"one against one says nothing", []float64{1}, []float64{2}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if p := pValue(test.a, test.b); math.Abs(p-test.want) > 1e-9 {
				t.Errorf("p %.4f, want %.4f", p, test.want)
			}
		})
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	got := ratios(map[int]float64{0: 10, 1: 40, 3: 9}, map[int]float64{0: 5, 1: 10, 2: 3})
	if len(got) != 2 || got[0] != 2 || got[1] != 4 {
		t.Errorf("%v, want 2 and 4: round 2 and 3 are only in one of them", got)
	}
}

// madeUp is a report of a run with the null forwarder, its twin and one director,
// whose packets cost so many times the null forwarder's, with noise of each trial
// and of each round.
func madeUp(seed uint64, times, noise float64, rounds int) *Report {
	r := rand.New(rand.NewPCG(seed, 1))
	null, nat := Target{Method: Null}, Target{Method: NAT}
	again := null
	again.Again = true
	rep := &Report{Schema: schema, Parts: []Setting{{Measure: "quick", Targets: []Target{null, nat, again}}}}
	for round := range rounds {
		drift := 1 + 0.3*r.Float64()
		for _, t := range []struct {
			target Target
			cost   float64
		}{{null, 1}, {nat, times}, {again, 1}} {
			cpu := 800 * t.cost * drift * math.Exp(noise*r.NormFloat64())
			rep.Trials = append(rep.Trials, Trial{Measure: "quick", Target: t.target.String(), Load: Load{Size: 64, Flows: 1, Rate: 1e5},
				Round: round, Window: 1e9, Intended: 1e6, Sent: 1e6, Received: 1e6, Arrived: 1e6, CPU: 1e6 * timeOf(cpu)})
		}
	}
	rep.summarize()
	return rep
}

func timeOf(ns float64) time.Duration { return time.Duration(math.Round(ns)) }

func verdictOf(r *Report) Verdict {
	for _, b := range r.Beside {
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
			if v := verdictOf(madeUp(seed, 1, noise, 8)); v == Faster || v == Slower {
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
		want  Verdict
	}{{1.25, Slower}, {0.75, Faster}, {1, Equivalent}} {
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

func TestClaimIsWhereTheIntervalOfAAEnds(t *testing.T) {
	for _, test := range []struct {
		e    Estimate
		want float64
	}{
		{Estimate{N: 8, Median: 1.01, Lo: 0.97, Hi: 1.02}, 0.03},
		{Estimate{N: 8, Median: 1, Lo: 1, Hi: 1.1}, 0.1},
		{Estimate{N: 2, Median: 1, Lo: 1, Hi: 1}, 1},
	} {
		if got := test.e.reach(); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%+v: %g, want %g", test.e, got, test.want)
		}
	}
}

func TestSharesAreComparedByTheirDistance(t *testing.T) {
	rounds := []int{0, 1, 2, 3, 4, 5, 6, 7}
	none := series{unit: shareUnit, less: true, rounds: rounds, values: make([]float64, 8)}
	some := series{unit: shareUnit, less: true, rounds: rounds, values: []float64{.2, .21, .2, .21, .2, .21, .2, .21}}
	c := none.change(&some, &Report{}, &Report{})
	if c.Verdict != Slower || c.Old != 0 {
		t.Errorf("%+v, want slower: a fifth is lost where nothing was", c)
	}
}

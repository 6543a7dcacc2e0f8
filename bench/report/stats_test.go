package report

import (
	"math"
	"math/rand/v2"
	"testing"
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
			e := NewEstimate(test.values)
			if e.N != len(test.values) || e.Median != test.median || e.Lo != test.lo || e.Hi != test.hi {
				t.Errorf("%+v, want median %g [%g, %g]", e, test.median, test.lo, test.hi)
			}
		})
	}
	if e := NewEstimate(nil); e.N != 0 || !math.IsNaN(e.Median) {
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
		if e := NewEstimate(v); e.Lo <= 1 && 1 <= e.Hi {
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
	got := Ratios(map[int]float64{0: 10, 1: 40, 3: 9}, map[int]float64{0: 5, 1: 10, 2: 3})
	if len(got) != 2 || got[0] != 2 || got[1] != 4 {
		t.Errorf("%v, want 2 and 4: round 2 and 3 are only in one of them", got)
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
	none := Series{Unit: ShareUnit, Less: true, Rounds: rounds, Values: make([]float64, 8)}
	some := Series{Unit: ShareUnit, Less: true, Rounds: rounds, Values: []float64{.2, .21, .2, .21, .2, .21, .2, .21}}
	c := none.change(&some, &Run{}, &Run{})
	if c.Verdict != Slower || c.Old != 0 {
		t.Errorf("%+v, want slower: a fifth is lost where nothing was", c)
	}
}

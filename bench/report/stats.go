package report

import (
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"slices"

	"golang.org/x/perf/benchmath"
)

// Estimate is a median of n values with the interval that holds the true one
// with 95 % confidence, by bootstrap (Efron and Tibshirani, chapter 13: the
// percentile interval).
type Estimate struct {
	N      int     `json:"n"`
	Median float64 `json:"median"`
	Lo     float64 `json:"lo"`
	Hi     float64 `json:"hi"`
}

// resamples is how often the bootstrap draws.
const resamples = 2000

// NewEstimate returns the Estimate of some values. The draws are seeded, so that
// the same trials give the same interval.
func NewEstimate(values []float64) Estimate {
	if len(values) == 0 {
		return Estimate{Median: math.NaN(), Lo: math.NaN(), Hi: math.NaN()}
	}
	e := Estimate{N: len(values), Median: median(values)}
	r := rand.New(rand.NewPCG(1, uint64(len(values))))
	medians, draw := make([]float64, resamples), make([]float64, len(values))
	for i := range medians {
		for j := range draw {
			draw[j] = values[r.IntN(len(values))]
		}
		medians[i] = median(draw)
	}
	slices.Sort(medians)
	e.Lo, e.Hi = medians[resamples*25/1000], medians[resamples*975/1000]
	return e
}

// median is the middle of some values, or the mean of the two in the middle; NaN of
// none.
func median(values []float64) float64 {
	s := slices.Clone(values)
	slices.Sort(s)
	n := len(s)
	if n == 0 {
		return math.NaN()
	}
	return (s[(n-1)/2] + s[n/2]) / 2
}

// pValue is the probability that a difference like that between two samples is
// chance, by the rank test of Mann, Whitney and Wilcoxon.
func pValue(a, b []float64) float64 {
	th := &benchmath.DefaultThresholds
	c := benchmath.AssumeNothing.Compare(benchmath.NewSample(slices.Clone(a), th), benchmath.NewSample(slices.Clone(b), th))
	return c.P
}

// Ratios divides values that belong together: those of the same round.
func Ratios(values, base map[int]float64) []float64 {
	var all []float64
	for _, round := range slices.Sorted(maps.Keys(values)) {
		if b := base[round]; b > 0 {
			all = append(all, values[round]/b)
		}
	}
	return all
}

// Exactly is an estimate of what was counted, not estimated.
func Exactly(v float64) Estimate {
	if math.IsNaN(v) {
		return NewEstimate(nil)
	}
	return Estimate{N: 1, Median: v, Lo: v, Hi: v}
}

// Scaled is the estimate in another unit.
func (e Estimate) Scaled(f float64) Estimate {
	return Estimate{N: e.N, Median: e.Median * f, Lo: e.Lo * f, Hi: e.Hi * f}
}

// reach is how far from 1 the interval reaches. Fewer than three values have no
// interval worth the name: nothing can be claimed, which is 1.
func (e Estimate) reach() float64 {
	if e.N < 3 {
		return 1
	}
	return max(math.Abs(e.Lo-1), math.Abs(e.Hi-1))
}

// MarshalJSON leaves out the numbers of an estimate of nothing, which JSON
// cannot say.
func (e Estimate) MarshalJSON() ([]byte, error) {
	if e.N == 0 || math.IsNaN(e.Median) {
		return []byte(`{"n":0}`), nil
	}
	type plain Estimate
	return json.Marshal(plain(e))
}

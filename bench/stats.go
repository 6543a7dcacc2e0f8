package bench

import (
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

// estimate returns the Estimate of some values. The draws are seeded, so that
// the same trials give the same interval.
func estimate(values []float64) Estimate {
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

// ratios divides values that belong together: those of the same round.
func ratios(values, base map[int]float64) []float64 {
	var all []float64
	for _, round := range slices.Sorted(maps.Keys(values)) {
		if b := base[round]; b > 0 {
			all = append(all, values[round]/b)
		}
	}
	return all
}

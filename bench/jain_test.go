package bench

import (
	"math"
	"slices"
	"testing"
	"uvs/sched"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestIdealIsWhatASchedulerPromises(t *testing.T) {
	tests := []struct {
		name      string
		scheduler string
		weights   []int32
		n         int
		want      []float64
	}{
		{"by weight for wrr", "wrr", []int32{3, 1}, 8, []float64{6, 2}},
		{"alike for rr, because it heeds no weights", "rr", []int32{3, 1}, 8, []float64{4, 4}},
		{"nothing for weight 0, which takes no new connections", "lc", []int32{3, 0, 1}, 8, []float64{4, 0, 4}},
		{"all to the heaviest for fo", "fo", []int32{1, 5, 2}, 8, []float64{0, 8, 0}},
		{"all to the last added for fo if weights are alike", "fo", []int32{2, 2}, 8, []float64{0, 8}},
		{"the heaviest first until full for ovf", "ovf", []int32{2, 5, 4}, 8, []float64{0, 5, 3}},
		{"and the last added first if they are alike", "ovf", []int32{4, 4}, 6, []float64{2, 4}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ideal(test.scheduler, test.weights, test.n), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFiguresOfASequenceOfPicks(t *testing.T) {
	weights := []int32{4, 2, 1}
	should := func(n int) []float64 { return proportional(weights, n) }
	tests := []struct {
		name                  string
		picks                 []uint16
		jain, maxToMean, peak float64
	}{
		// After four picks the first has 4, and its share is 16/7.
		{"in runs, as bursty as can be", []uint16{1, 1, 1, 1, 2, 2, 3}, 1, 1, 4 - 16.0/7},
		{"spread out", []uint16{1, 2, 1, 3, 1, 2, 1}, 1, 1, 3.0 / 7},
		{"all to one of three, so a third is left of Jain's index", []uint16{3, 3, 3, 3, 3, 3, 3}, 1.0 / 3, 3, 6},
		{"lost picks count for nobody", []uint16{1, 0, 2, 0, 1, 3, 1, 2, 1}, 1, 1, 3.0 / 7},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			counts, want := countPicks(test.picks, 3), should(7)
			got := []float64{jain(counts, want), maxToMean(counts, want), peak(test.picks, 3, should)}
			if diff := cmp.Diff([]float64{test.jain, test.maxToMean, test.peak}, got, cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Error("jain, max to mean, peak:", diff)
			}
		})
	}
	if d := smoothest(3, 70, should); d <= 0 || d >= 1 {
		t.Errorf("smoothest %.2f: below 1, because a whole connection behind is next", d)
	}
}

func TestChanceIsFairerWithMoreKeys(t *testing.T) {
	few, many := chance([]float64{1, 1, 1, 1}, 40), chance([]float64{1, 1, 1, 1}, 4000)
	// The square of the coefficient of variation of a multinomial's counts is
	// (servers−1)/keys in the mean.
	if want := 1 / (1 + 3.0/40); math.Abs(few[1]-want) > 0.02 {
		t.Errorf("median with 40 keys %.3f, want about %.3f", few[1], want)
	}
	if !(few[0] < few[1] && few[1] < few[2] && few[2] < many[1]) {
		t.Errorf("percentiles %v with 40 keys, %v with 4000", few, many)
	}
}

func TestPromisesAreOfSchedulersThatExist(t *testing.T) {
	for name := range promises {
		if !slices.Contains(sched.Names(), name) {
			t.Errorf("there is no scheduler %s", name)
		}
	}
}

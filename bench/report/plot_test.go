package report

import (
	"math"
	"testing"
)

func TestAxesHoldTheirValues(t *testing.T) {
	tests := []struct {
		name      string
		log, free bool
		values    []float64
		lo, hi    float64
		marks     []float64
	}{
		{"magnitudes begin at zero", false, false, []float64{40, 100}, 0, 105, []float64{0, 50, 100}},
		{"a logarithmic axis ends at powers of ten", true, false, []float64{3, 400}, 1, 1000, []float64{1, 10, 100, 1000}},
		{"no value at all is an axis too", false, true, []float64{math.NaN()}, 0.9, 1.1, []float64{0.9, 0.95, 1, 1.05, 1.1}},
		{"a single value is in the middle of nothing", true, false, []float64{10}, 10, 100, []float64{10, 100}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := Axis{Log: test.log}
			a.span(test.values, test.free)
			if math.Abs(a.Lo-test.lo) > 1e-6 || math.Abs(a.Hi-test.hi) > 1e-6 {
				t.Errorf("from %g to %g, want %g to %g", a.Lo, a.Hi, test.lo, test.hi)
			}
			got := a.marks()
			if len(got) != len(test.marks) {
				t.Fatalf("marks %v, want %v", got, test.marks)
			}
			for i := range got {
				if math.Abs(got[i]-test.marks[i]) > 1e-6 {
					t.Errorf("marks %v, want %v", got, test.marks)
				}
			}
		})
	}
}

package report

import (
	"testing"
)

func TestVerdicts(t *testing.T) {
	scaled := func(f float64, spread float64) []float64 {
		var v []float64
		for i := range 12 {
			v = append(v, f*(1000+spread*float64(i%6-3)))
		}
		return v
	}
	tests := []struct {
		name       string
		old, fresh []float64
		want       Verdict
	}{
		{"a tenth less time on a quiet machine is faster", scaled(1, 2), scaled(0.9, 2), Faster},
		{"a tenth more time is slower", scaled(1, 2), scaled(1.1, 2), Slower},
		{"the same is equivalent", scaled(1, 2), scaled(1, 2), Equivalent},
		{"a tenth less among large differences is nothing to claim", scaled(1, 200), scaled(0.9, 200), Inconclusive},
		{"one trial each is nothing to claim", scaled(1, 2)[:1], scaled(0.5, 2)[:1], Inconclusive},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a, b := Series{Less: true, Values: test.old}, Series{Less: true, Values: test.fresh}
			if c := a.change(&b, &Run{}, &Run{}); c.Verdict != test.want {
				t.Errorf("%+v, want %s", c, test.want)
			}
		})
	}
}

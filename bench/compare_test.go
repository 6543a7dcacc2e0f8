package bench

import (
	"bytes"
	"testing"

	"golang.org/x/perf/benchfmt"
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
			a, b := series{less: true, values: test.old}, series{less: true, values: test.fresh}
			if c := a.change(&b, &Report{}, &Report{}); c.Verdict != test.want {
				t.Errorf("%+v, want %s", c, test.want)
			}
		})
	}
}

func TestReportsAreReadByBenchstatAndByOurselves(t *testing.T) {
	r := &Report{Schema: schema, forwarding: forwarding{Trials: []Trial{{Measure: "quick", Target: "nat", Load: Load{Size: 64, Flows: 1}, Window: 1e9, Arrived: 1000, CPU: 1e6}}}}
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

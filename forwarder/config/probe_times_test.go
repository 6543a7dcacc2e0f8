package config

import (
	"testing"
	"time"
)

func TestProbesAreCountedByHowLongTheyTook(t *testing.T) {
	for _, c := range []struct {
		took time.Duration
		want int
	}{
		{time.Microsecond, 0}, {time.Millisecond, 0}, {time.Millisecond + 1, 1}, {3 * time.Millisecond, 2},
		{10 * time.Second, len(ProbeBounds) - 1}, {time.Minute, len(ProbeBounds)},
	} {
		var times ProbeTimes
		times.Add(c.took)
		if times.Counts[c.want] != 1 || times.Sum != c.took {
			t.Errorf("%v: %+v, want it in place %d", c.took, times, c.want)
		}
	}
}

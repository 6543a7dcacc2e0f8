package config

import "time"

// ProbeBounds are the bounds of ProbeTimes.
var ProbeBounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// ProbeTimes counts probes by how long they took.
type ProbeTimes struct {
	// Counts has in each place the probes that took no longer than the bound in the same
	// place of ProbeBounds, and longer than the one before; in the last place all others.
	Counts [len(ProbeBounds) + 1]uint64
	Sum    time.Duration // of all
}

// Add counts a probe.
func (t *ProbeTimes) Add(took time.Duration) {
	at := 0
	for at < len(ProbeBounds) && took > ProbeBounds[at] {
		at++
	}
	t.Counts[at]++
	t.Sum += took
}

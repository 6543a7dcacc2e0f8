package sched

import "fmt"

// newFO returns weighted fail-over: the server of the highest weight takes all,
// the next only once it is out (ip_vs_fo.c).
func newFO() Scheduler {
	return newLeast(measure{
		name:   "fo",
		rule:   "highest weight",
		load:   byWeight,
		figure: func(s *RealServer) string { return fmt.Sprintf("weight %d", s.Weight()) },
	})
}

// byWeight is 1/weight: the least is the highest weight.
func byWeight(s *RealServer) load { return load{1, uint64(s.Weight())} }

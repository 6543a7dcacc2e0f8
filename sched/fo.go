package sched

import "fmt"

// newFO returns weighted fail-over: the server with the highest weight takes all
// connections, and the next one only when it is not eligible (ip_vs_fo.c).
func newFO() Scheduler {
	return newLeast(measure{
		name:   "fo",
		rule:   "highest weight",
		load:   byWeight,
		figure: func(s *RealServer) string { return fmt.Sprintf("weight %d", s.Weight()) },
	})
}

// byWeight is 1/weight: the least load is the highest weight.
func byWeight(s *RealServer) load { return load{1, uint64(s.Weight())} }

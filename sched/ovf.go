package sched

import "fmt"

// newOVF returns weighted overflow: the server with the highest weight takes all
// connections until its active ones exceed that weight, then the next server does
// (ip_vs_ovf.c). UDP connections are never active, so they never overflow.
func newOVF() Scheduler {
	return newLeast(measure{
		name: "ovf",
		rule: "highest weight among servers with active ≤ weight",
		load: func(s *RealServer) load {
			if s.Active() > s.Weight() {
				return load{}
			}
			return byWeight(s)
		},
		figure: func(s *RealServer) string {
			return fmt.Sprintf("weight %d, active %d", s.Weight(), s.Active())
		},
		skip: "active above weight",
	})
}

package sched

import "fmt"

// newOVF returns weighted overflow: the server of the highest weight takes all
// until its active connections exceed that weight, then the next one
// (ip_vs_ovf.c). UDP connections are never active and so never overflow.
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

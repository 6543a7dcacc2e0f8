package sched

import "fmt"

// newLC returns least-connection: the server with the fewest connections, where an
// active one counts as 256 inactive ones. Weights other than 0 do not matter
// (ip_vs_lc.c).
func newLC() Scheduler {
	return newLeast(measure{
		name: "lc",
		rule: "least active·256+inactive",
		load: func(s *RealServer) load { return load{s.overhead(), 1} },
		figure: func(s *RealServer) string {
			return fmt.Sprintf("%d·256+%d = %d", s.Active(), s.Inactive(), s.Overhead())
		},
	})
}

// overhead is Overhead for a load. Counts are below 0 only for a moment, while two
// workers change them.
func (s *RealServer) overhead() uint64 { return uint64(max(0, s.Overhead())) }

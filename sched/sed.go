package sched

import "fmt"

// newSED returns shortest expected delay: the server with the fewest active
// connections for its weight, counting the new one (ip_vs_sed.c). Inactive
// connections do not count.
func newSED() Scheduler {
	return newLeast(measure{
		name:   "sed",
		rule:   "least (active+1)/weight",
		load:   expectedDelay,
		figure: expectedDelayFigure,
	})
}

func expectedDelay(s *RealServer) load {
	return load{uint64(max(0, s.Active())) + 1, uint64(s.Weight())}
}

func expectedDelayFigure(s *RealServer) string {
	return fmt.Sprintf("(%d+1)/%d%s", s.Active(), s.Weight(), quotient(int64(s.Active())+1, s.Weight()))
}

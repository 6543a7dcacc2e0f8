package sched

// newNQ returns never-queue: the first server of the list that has no active
// connection, whatever its weight, and if all are busy sed's choice (ip_vs_nq.c).
func newNQ() Scheduler {
	return newLeast(measure{
		name: "nq",
		rule: "first server without active connections, else least (active+1)/weight",
		load: func(s *RealServer) load {
			if s.Active() == 0 {
				return load{0, 1} // below every expected delay, and equal for all idle servers
			}
			return expectedDelay(s)
		},
		figure: func(s *RealServer) string {
			if s.Active() == 0 {
				return "idle"
			}
			return expectedDelayFigure(s)
		},
	})
}

package sched

import "fmt"

// newWLC returns weighted least-connection, ipvsadm's default: the server with
// the fewest connections for its weight (ip_vs_wlc.c).
func newWLC() Scheduler { return newLeast(weightedLeast("wlc")) }

// weightedLeast is the measure of wlc, and of lblc and lblcr where they choose
// from all servers.
func weightedLeast(name string) measure {
	return measure{
		name:   name,
		rule:   "least (active·256+inactive)/weight",
		load:   perWeight,
		figure: perWeightFigure,
	}
}

func perWeight(s *RealServer) load { return load{s.overhead(), uint64(s.Weight())} }

func perWeightFigure(s *RealServer) string {
	return fmt.Sprintf("(%d·256+%d)/%d%s", s.Active(), s.Inactive(), s.Weight(),
		quotient(s.Overhead(), s.Weight()))
}

// quotient formats " = a/b" to three decimals; it is empty if b is 0.
func quotient(a int64, b int32) string {
	if b == 0 {
		return ""
	}
	return fmt.Sprintf(" = %.3f", float64(a)/float64(b))
}

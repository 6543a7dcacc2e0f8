package load

import "time"

// Phase is a stretch of a load at one rate.
type Phase struct {
	Rate float64       `json:"rate"` // frames a second
	For  time.Duration `json:"for_ns"`
}

// Plan says when each frame of a load is to leave: phase after phase, the last
// without end.
type Plan []Phase

// steady is a plan of one rate.
func steady(rate float64) Plan { return Plan{{Rate: rate}} }

// Due is how many frames are to have left by a time after the beginning.
func (p Plan) Due(t time.Duration) uint64 {
	n := 0.0
	for i, ph := range p {
		if i == len(p)-1 || t < ph.For {
			return uint64(n+t.Seconds()*ph.Rate) + 1
		}
		n += ph.For.Seconds() * ph.Rate
		t -= ph.For
	}
	return 0
}

// At is when the nth frame, from 0, is to leave.
func (p Plan) At(n uint64) time.Duration {
	rest, begin := float64(n), time.Duration(0)
	for i, ph := range p {
		all := ph.For.Seconds() * ph.Rate
		if i == len(p)-1 || rest < all {
			return begin + time.Duration(rest/ph.Rate*1e9)
		}
		rest -= all
		begin += ph.For
	}
	return begin
}

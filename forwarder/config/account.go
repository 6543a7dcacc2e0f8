package config

import "fmt"

// Account says what became of the frames that a receive queue received, as of one
// moment.
type Account struct {
	Port     string            `json:"port"`     // LINK/QUEUE, link "all" if it serves all; "closed": all that are closed
	Received uint64            `json:"received"` // frames, by the port's own count
	Outcomes map[string]uint64 `json:"outcomes"` // frames that ended, by verdict
	Waiting  Waiting           `json:"waiting"`
	InBatch  uint64            `json:"in_batch"` // frames its worker has at hand
	// Difference is how many received frames the others do not account for, negative if
	// some are counted twice; 0 if all is well.
	Difference int64 `json:"difference"`
}

// Waiting are the frames that have not ended yet.
type Waiting struct {
	Neighbour uint64 `json:"neighbour"` // for the MAC address of their next hop
	Fragments uint64 `json:"fragments"` // for the other fragments of their datagram
	Guard     uint64 `json:"guard"`     // for the guard to know of their connection
	Server    uint64 `json:"server"`    // for their server to answer the SYN proxy
}

// Sum returns how many frames wait in all.
func (w Waiting) Sum() uint64 { return w.Neighbour + w.Fragments + w.Guard + w.Server }

// Ended returns how many frames have ended.
func (a *Account) Ended() (n uint64) {
	for _, frames := range a.Outcomes {
		n += frames
	}
	return n
}

// Missing returns how many of the received frames neither ended nor wait nor are at
// hand.
func (a *Account) Missing() int64 {
	return int64(a.Received - a.Ended() - a.Waiting.Sum() - a.InBatch)
}

// String says in a line where the frames are.
func (a *Account) String() string {
	return fmt.Sprintf("%s: %d received = %d ended + %d waiting + %d at hand",
		a.Port, a.Received, a.Ended(), a.Waiting.Sum(), a.InBatch)
}

package config

import (
	"time"

	"uvs/sched"
)

// Trace is what the director decided about one packet, stage by stage.
type Trace struct {
	Number  uint64    `json:"number"` // of the packet among those recorded since the start
	Time    time.Time `json:"time"`
	Link    string    `json:"interface"` // it arrived on
	Length  int       `json:"length"`    // bytes of the frame
	Packet  string    `json:"packet"`    // "tcp SYN 172.16.0.9:51514 > 10.0.0.100:80"
	Steps   []Step    `json:"steps"`
	Verdict string    `json:"verdict"` // as in the counters
	Next    string    `json:"next,omitempty"`
	Took    uint64    `json:"took_ns"` // nanoseconds, of which recording is a part
}

// Step is what one stage decided.
type Step struct {
	Stage   string        `json:"stage"` // rx, service, conn, sched, policy, synproxy, neigh, rewrite, tx
	What    string        `json:"what"`
	At      uint64        `json:"at_ns"` // nanoseconds after the first step
	Pick    *sched.Record `json:"pick,omitempty"`
	Changes []Change      `json:"changes,omitempty"` // of rewrite
}

// Change is a header field of a packet that the director changed, or one whose
// staying the same matters.
type Change struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"` // equal to Before: not changed
	Note   string `json:"note,omitempty"`
}

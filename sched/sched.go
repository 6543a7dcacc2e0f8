// Package sched decides which real server takes a new connection.
//
// It holds the real servers of a service as schedulers see them (address,
// weight, connection counts, thresholds) and IPVS's schedulers, one file each,
// named as `ipvsadm -s` names them. Each returns the very server that Linux 6.1
// would for the same events, ties included. It knows neither packets nor the
// connection table: it sees a Flow and counts that others keep up to date.
package sched

import (
	"fmt"

	"uvs/forwarder/frame"
)

// Scheduler picks real servers for the new connections of one service. It is
// told of every change of the server list and of the counts, and keeps its
// state (cursor, cache) over them. All methods are safe for concurrent use.
type Scheduler interface {
	// Name returns the scheduler's name as in ipvsadm -s.
	Name() string
	// Pick returns the server for a new connection with flow f, or nil if no
	// server can take it. If rec is not nil the arithmetic goes into it.
	Pick(f *frame.Flow, rec *Record) *RealServer
	// Add tells that s joined the end of the service's list.
	Add(s *RealServer)
	// Remove tells that s left the service's list.
	Remove(s *RealServer)
	// Update tells that s changed its weight, its thresholds or its overload
	// state.
	Update(s *RealServer)
	// Count tells that the connection counts of s changed. It is called once
	// or twice in a connection's life, never for packets of an established one.
	Count(s *RealServer)
}

// Flags are the scheduler flags of ipvsadm -b.
type Flags uint8

// The three flag bits have a meaning for each scheduler of its own
// (ipvsadm(8)): sh-fallback and mh-fallback are Flag1, sh-port and mh-port are
// Flag2.
const (
	Flag1 Flags = 1 << iota
	Flag2
	Flag3

	Fallback = Flag1
	Port     = Flag2
)

// ErrUnknown is returned by New for a name that is no scheduler.
type ErrUnknown string

func (e ErrUnknown) Error() string { return fmt.Sprintf("sched: no scheduler %q", string(e)) }

// Record is a scheduler's account of one pick, for `uvs explain` and
// `uvs sched sim --explain`: the candidates with the figures compared, who was
// left out and why. A Record belongs to one goroutine; Reset it between picks.
type Record struct {
	Scheduler  string      `json:"scheduler"`
	Rule       string      `json:"rule"` // what was compared, in words
	Candidates []Candidate `json:"candidates,omitempty"`
	Chosen     ID          `json:"chosen"` // 0 if none
}

// Candidate is one server of a Record.
type Candidate struct {
	Server ID     `json:"server"`
	Addr   string `json:"addr"`
	Figure string `json:"figure,omitempty"` // the figure compared, with its arithmetic: "(2·256+1)/3 = 171.0"
	Skip   string `json:"skip,omitempty"`   // why it was left out: "weight 0", "overloaded"; empty if it was not
}

// Reset empties the record and keeps its memory.
func (r *Record) Reset() { *r = Record{Candidates: r.Candidates[:0]} }

package config

import (
	"net/netip"
	"time"
)

// Summary is a director at a glance, small however many services and servers it has: what
// `uvs top` shows.
type Summary struct {
	Time     time.Time        `json:"time"`
	Uptime   uint64           `json:"uptime_ms"`
	Totals   Stats            `json:"totals"`
	Services []ServiceSummary `json:"services"` // those with most new connections, and the one asked for
	Others   int              `json:"others"`   // services that are left out
	// Decisions are some of the new connections while summaries were asked for, the oldest
	// first: of the last 64, those after the number in the query.
	Decisions []Decision `json:"decisions"`
}

// ServiceSummary is a service and some of its servers.
type ServiceSummary struct {
	Service   Key             `json:"service"`
	Scheduler string          `json:"scheduler"`
	Active    uint64          `json:"active_connections"`
	Inactive  uint64          `json:"inactive_connections"`
	Eligible  int             `json:"eligible"` // servers that new connections may go to
	Stats     Stats           `json:"stats"`
	Servers   []ServerSummary `json:"servers"`
	First     int             `json:"first"`  // servers left out before those listed, as the query says
	Others    int             `json:"others"` // servers that are left out, before and after
	// Jain's index of fairness is that of the servers' parts per ideal part, 1 if all
	// have theirs; MaxOverMean is the largest of these. 0: nothing has come.
	Jain        float64 `json:"jain"`
	MaxOverMean float64 `json:"max_over_mean"`
}

// ServerSummary is a real server, and its part of its service's new connections: of those
// of the last seconds if any came then, else of all since the counters were set to zero.
type ServerSummary struct {
	Address  netip.AddrPort `json:"address"`
	Method   string         `json:"method"`
	Weight   int32          `json:"weight"`
	Ideal    float64        `json:"ideal"`  // by weight, among the eligible ones; 0 to 1
	Actual   float64        `json:"actual"` // 0 to 1
	Active   uint64         `json:"active_connections"`
	Inactive uint64         `json:"inactive_connections"`
	CPS      uint64         `json:"connections_per_second"`
	Load     float64        `json:"load"` // (active·256 + inactive) / weight, by which wlc compares; without a weight, not divided
	State    string         `json:"state"`
}

// States of a ServerSummary.
const (
	ServerOK         = "ok"
	ServerQuiesced   = "quiesced"   // weight 0
	ServerDraining   = "draining"   // quiesced, and its connections will be ended
	ServerOverloaded = "overloaded" // its connection threshold is reached
)

// Decision is a new connection and the server it was given.
type Decision struct {
	Number  uint64         `json:"number"` // from 1, in the life of a director
	Time    time.Time      `json:"time"`
	Client  netip.AddrPort `json:"client"`
	Virtual netip.AddrPort `json:"virtual"`
	Server  netip.AddrPort `json:"server,omitzero"` // none: no server would take it
}

// SummaryQuery says what a Summary is to show.
type SummaryQuery struct {
	Service  *Key   // the only one whose servers are listed; nil: all are
	Services int    // at most; the one that is asked for is always there
	First    int    // so many servers of each service are left out before those listed
	Servers  int    // of each service, at most
	Sort     string // of servers: added, connections, rate, weight, load, actual
	// After is the number of the last Decision that the reader has. All that are kept are
	// after 0, and after a number that was not given yet: it is another director's.
	After uint64
	// Decisions asks for decisions, and has the director keep them for the next seconds.
	// The control server sets it, for those who may write.
	Decisions bool
}

// Package sim runs a scheduler on a simulated workload with a clock of its own: connections
// arrive from clients, last some time and end; servers fail, recover and change their
// weights. It reports how the connections were distributed and, on request, each pick with
// its arithmetic.
//
// The scheduler is the director's own code; packets, states and the connection table are
// left out. A connection counts as active while it lasts and, if the workload says so, as
// inactive for a while after it is closed, as in IPVS. The same workload with the same seed
// gives the same picks. Nothing here is safe for concurrent use.
package sim

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// Workload describes a run. The zero value of a field that has a default means
// the default.
type Workload struct {
	Scheduler   string      `json:"scheduler"`
	Flags       sched.Flags `json:"flags,omitempty"`
	Servers     []Server    `json:"servers"`
	Connections int         `json:"connections"`          // how many come
	Rate        float64     `json:"rate"`                 // per second, in the mean
	Arrivals    Law         `json:"arrivals,omitempty"`   // of the times between them; default Exponential
	Lasts       Duration    `json:"lasts"`                // in the mean
	Durations   Law         `json:"durations,omitempty"`  // of how long they last; default Exponential
	Lingers     Duration    `json:"lingers,omitempty"`    // as an inactive connection, once closed
	Clients     int         `json:"clients,omitempty"`    // addresses they come from; default 100
	Addresses   int         `json:"addresses,omitempty"`  // addresses they ask for; default 1
	Popularity  float64     `json:"popularity,omitempty"` // Zipf exponent of addresses, above 1; 0: all alike
	Events      []Event     `json:"events,omitempty"`
	Seed        uint64      `json:"seed"`

	// OneByOne adds the servers one by one to the service, as an administrator does.
	// Otherwise the scheduler gets them all at once, as when it replaces another. Some,
	// such as wrr, then begin with a different server.
	OneByOne bool `json:"one_by_one,omitempty"`
	// Flow, if not nil, returns the flow of the nth connection. It replaces Clients and
	// Addresses, so that a run can be compared with real packets.
	Flow func(n int) frame.Flow `json:"-"`
}

// Server is a real server at the start of a run. The nth has the address 10.1.0.n unless At
// is set.
type Server struct {
	Weight int32   `json:"weight"`
	Upper  uint32  `json:"upper,omitempty"`
	Lower  uint32  `json:"lower,omitempty"`
	Slow   float64 `json:"slow,omitempty"` // its connections last this many times as long; default 1

	At netip.AddrPort `json:"-"`
}

// Law is a distribution of times with a given mean.
type Law string

// The distributions. Pareto has shape 1.5: a few values are very long.
const (
	Fixed       Law = "fixed"
	Uniform     Law = "uniform"
	Exponential Law = "exp"
	Pareto      Law = "pareto"
)

// draw returns a time with the given mean.
func (l Law) draw(r *rand.Rand, mean float64) float64 {
	switch l {
	case Fixed:
		return mean
	case Uniform:
		return 2 * mean * r.Float64()
	case Pareto:
		u := 1 - r.Float64()
		return mean / 3 / cubeRootSquared(u)
	}
	return mean * r.ExpFloat64()
}

func (l Law) check() error {
	switch l {
	case "", Fixed, Uniform, Exponential, Pareto:
		return nil
	}
	return fmt.Errorf("%q is not one of fixed, uniform, exp, pareto", l)
}

// Duration is a time.Duration written as Go does: "1.5s".
type Duration time.Duration

// MarshalText writes "1.5s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads "1.5s".
func (d *Duration) UnmarshalText(text []byte) error {
	t, err := time.ParseDuration(string(text))
	*d = Duration(t)
	return err
}

// Check reports what is wrong with a workload, if anything is.
func (w *Workload) Check() error {
	switch {
	case len(w.Servers) == 0:
		return errors.New("servers: there are none; at least one is needed")
	case len(w.Servers) > maxServers:
		return fmt.Errorf("servers: %d, at most %d", len(w.Servers), maxServers)
	case w.Connections < 0:
		return fmt.Errorf("connections %d: 0 or more", w.Connections)
	case !(w.Rate > 0) || math.IsInf(w.Rate, 1):
		return fmt.Errorf("rate %g: more than 0 a second", w.Rate)
	case w.Lasts < 0:
		return fmt.Errorf("lasts %v: 0s or more", time.Duration(w.Lasts))
	case w.Lingers < 0:
		return fmt.Errorf("lingers %v: 0s or more", time.Duration(w.Lingers))
	case w.Clients < 0:
		return fmt.Errorf("clients %d: 1 or more", w.Clients)
	case w.Addresses < 0:
		return fmt.Errorf("addresses %d: 1 or more", w.Addresses)
	case w.Popularity != 0 && !(w.Popularity > 1):
		return fmt.Errorf("popularity %g: a Zipf exponent is above 1; 0 makes all alike", w.Popularity)
	}
	if err := w.Arrivals.check(); err != nil {
		return fmt.Errorf("arrivals: %w", err)
	}
	if err := w.Durations.check(); err != nil {
		return fmt.Errorf("durations: %w", err)
	}
	for i, s := range w.Servers {
		if err := s.check(); err != nil {
			return fmt.Errorf("server %d: %w", i+1, err)
		}
	}
	return errors.Join(known(w.Scheduler), w.checkEvents())
}

func (s *Server) check() error {
	switch {
	case s.Weight < 0:
		return fmt.Errorf("weight %d: 0 or more", s.Weight)
	case !(s.Slow >= 0) || math.IsInf(s.Slow, 1):
		return fmt.Errorf("slow %g: more than 0; 1 is as fast as the others", s.Slow)
	case s.Upper != 0 && s.Lower > s.Upper:
		return fmt.Errorf("the lower threshold %d is above the upper one, %d", s.Lower, s.Upper)
	}
	return nil
}

// known reports whether there is a scheduler of that name.
func known(name string) error {
	if !slices.Contains(sched.Names(), name) {
		return fmt.Errorf("there is no scheduler %q; there are %s", name, strings.Join(sched.Names(), ", "))
	}
	return nil
}

// maxServers is how many addresses 10.1.0.0/16 has.
const maxServers = 65535

func (w *Workload) checkEvents() error {
	servers := len(w.Servers)
	for _, e := range w.Events {
		if e.Do == "add" {
			servers = max(servers, e.Server)
		}
	}
	for _, e := range w.Events {
		if e.Do == "scheduler" {
			if err := known(e.Name); err != nil {
				return fmt.Errorf("event %q: %w", e, err)
			}
		}
		if e.Do == "limit" && e.value(1, 0) > e.Values[0] {
			return fmt.Errorf("event %q: the lower threshold is above the upper one", e)
		}
		if e.Server > servers || e.Server == 0 && e.Do != "scheduler" {
			return fmt.Errorf("event %q: there is no server %d; they are counted from 1 to %d", e, e.Server, servers)
		}
	}
	return nil
}

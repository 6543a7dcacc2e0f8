package page

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"uvs/forwarder/config"
	"uvs/sched"
	"uvs/sched/sim"
)

// Bounds of a simulation that a reader asks for.
const (
	maxSimulated  = 20_000 // connections
	maxSchedulers = 4
	maxTwins      = 200 // servers
	curvePoints   = 60
	maxRecorded   = 60      // seconds
	maxLines      = 200_000 // of a recording
)

// twin is how a scheduler would share connections out.
type twin struct {
	Scheduler string      `json:"scheduler"`
	Report    *sim.Report `json:"report"`
	Curve     []point     `json:"curve"`
}

// point is how many connections each server has got by then.
type point struct {
	At    float64 `json:"at_s"`
	Picks []int   `json:"picks"`
}

// whatIf runs the workload of the parameter workload (JSON, as that of uvs sched sim) by
// each of the schedulers in the parameter schedulers.
func whatIf(ctx context.Context, query url.Values) (any, error) {
	var w sim.Workload
	d := json.NewDecoder(strings.NewReader(query.Get("workload")))
	d.DisallowUnknownFields()
	if err := d.Decode(&w); err != nil {
		return nil, fmt.Errorf("%w: workload: %w", ErrBadQuestion, err)
	}
	names := strings.Split(query.Get("schedulers"), ",")
	if len(names) > maxSchedulers || w.Connections > maxSimulated || len(w.Servers) > maxTwins {
		return nil, fmt.Errorf("%w: at most %d schedulers, %d connections and %d servers", ErrBadQuestion, maxSchedulers, maxSimulated, maxTwins)
	}
	all := []twin{}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		w.Scheduler = name
		t, err := simulate(w)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadQuestion, err)
		}
		all = append(all, t)
	}
	return map[string]any{"twins": all, "schedulers": sched.Names()}, nil
}

func simulate(w sim.Workload) (twin, error) {
	t := twin{Scheduler: w.Scheduler, Curve: []point{}}
	picks, n := make([]int, len(w.Servers)), 0
	every := max(w.Connections/curvePoints, 1)
	var err error
	t.Report, err = sim.Run(w, false, func(p sim.Pick) {
		if p.Server > 0 && p.Server <= len(picks) {
			picks[p.Server-1]++
		}
		if n++; n%every == 0 || n == w.Connections {
			t.Curve = append(t.Curve, point{p.At.Seconds(), slices.Clone(picks)})
		}
	})
	return t, err
}

// replay records what comes to the service of the parameter service for seconds, and
// replays it through each of schedulers, with weights if there are any (the servers' in
// order, separated by commas). The traffic notices nothing.
func (s *Server) replay(ctx context.Context, query url.Values) (any, error) {
	key, err := config.ParseKey(query.Get("service"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadQuestion, err)
	}
	seconds, err := strconv.Atoi(query.Get("seconds"))
	if err != nil || seconds < 1 || seconds > maxRecorded {
		return nil, fmt.Errorf("%w: seconds is a number from 1 to %d", ErrBadQuestion, maxRecorded)
	}
	names := strings.Split(query.Get("schedulers"), ",")
	if len(names) > maxSchedulers {
		return nil, fmt.Errorf("%w: at most %d schedulers", ErrBadQuestion, maxSchedulers)
	}
	lines, err := s.record(ctx, key, time.Duration(seconds)*time.Second)
	if err != nil {
		return nil, err
	}
	weights, err := weightsOf(lines[0].Service, query.Get("weights"))
	if err != nil {
		return nil, err
	}
	all := []*sim.Comparison{}
	for _, name := range names {
		c, err := sim.Replay(lines, sim.Otherwise{Scheduler: name, Weights: weights})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadQuestion, err)
		}
		all = append(all, c)
	}
	return map[string]any{"comparisons": all}, nil
}

// record returns what becomes of the connections to a service for a while.
func (s *Server) record(ctx context.Context, key config.Key, long time.Duration) ([]sim.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	var lines []sim.Line
	for line, err := range s.Director.Record(ctx, key) {
		if err != nil && ctx.Err() == nil {
			return nil, err
		}
		if err != nil || len(lines) == maxLines {
			break
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 || lines[0].Service == nil {
		return nil, errors.New("nothing was recorded")
	}
	return lines, nil
}

// weightsOf reads other weights for a recorded service's servers.
func weightsOf(service *sim.Recorded, text string) (map[netip.AddrPort]int32, error) {
	if text == "" {
		return nil, nil
	}
	weights := map[netip.AddrPort]int32{}
	for i, part := range strings.Split(text, ",") {
		w, err := strconv.ParseInt(strings.TrimSpace(part), 10, 32)
		if err != nil || w < 0 || i >= len(service.Servers) {
			return nil, fmt.Errorf("%w: weights: a number from 0 on for each of %d servers", ErrBadQuestion, len(service.Servers))
		}
		weights[service.Servers[i].Address] = int32(w)
	}
	return weights, nil
}

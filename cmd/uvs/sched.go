package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"uvs/sched"
	"uvs/sched/sim"
)

func schedCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sched",
		Short: "Schedulers: try them out, also on recorded traffic",
	}
	return group(cmd, schedSimCmd(), schedRecordCmd(), schedReplayCmd())
}

// schedSim has the flags of sched sim.
type schedSim struct {
	sim.Workload
	file, flags, arrivals, durations string
	weights                          []int32
	slow                             []float64
	limits, events                   []string
	lasts, lingers                   time.Duration
	picks, explain, json, show       bool
}

func schedSimCmd() *cobra.Command {
	var s schedSim
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run a scheduler over a workload and show how it shares out connections",
		Long: `Runs the director's own scheduler over connections that come, last and go on a
simulated clock, and prints each server's share against the ideal by weight, Jain's
index of fairness, the longest run of picks of one server and, if asked, the picks.
The same workload and seed give the same picks again.

Servers are counted from 1 in the order they are added; IPVS's list begins with the
one added last. Events are "TIME ACTION SERVER [NUMBER...]":

  20s fail 2         2 is removed and its connections break
  30s recover 2      2 is added again, with the weight it had
  20s weight 2 0     2 has weight 0
  20s limit 2 40 30  2 has the connection thresholds 40 and 30
  20s remove 2       2 is removed, its connections last on
  30s add 2 3        2 is added, again or for the first time, with weight 3
  40s scheduler wlc  the service has another scheduler

A workload can be read from a file of JSON with the fields that --show-workload prints.`,
		Example: `  uvs sched sim -s wrr -w 4,3,2 -n 9 --picks
  uvs sched sim -s wlc -w 3,2,1 -n 4 --explain
  uvs sched sim -s mh -w 1,1,1,1 --event "5s fail 2" --event "8s recover 2"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.read(cmd); err != nil {
				return err
			}
			return s.run(cmd.OutOrStdout())
		},
	}
	s.bind(cmd)
	return cmd
}

func (s *schedSim) bind(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&s.Scheduler, "scheduler", "s", "wlc", strings.Join(sched.Names(), ", "))
	f.StringVarP(&s.flags, "sched-flags", "b", "", "scheduler `FLAGS`: sh-fallback, sh-port, mh-fallback, mh-port")
	f.Int32SliceVarP(&s.weights, "weights", "w", []int32{1, 1, 1}, "a server of each weight")
	f.Float64SliceVar(&s.slow, "slow", nil, "connections of each server last this many times as long")
	f.StringArrayVar(&s.limits, "limit", nil, "connection thresholds `SERVER=UPPER[:LOWER]`")
	f.IntVarP(&s.Connections, "connections", "n", 1000, "how many come")
	f.Float64Var(&s.Rate, "rate", 100, "connections per second")
	f.StringVar(&s.arrivals, "arrivals", "exp", "law of the times between them: fixed, uniform, exp, pareto")
	f.DurationVar(&s.lasts, "lasts", time.Second, "how long they last")
	f.StringVar(&s.durations, "durations", "exp", "law of that")
	f.DurationVar(&s.lingers, "lingers", 0, "how long a closed one counts as inactive; 2m in IPVS")
	f.IntVar(&s.Clients, "clients", 100, "addresses they come from")
	f.IntVar(&s.Addresses, "addresses", 1, "addresses they ask for (dh, lblc, lblcr)")
	f.Float64Var(&s.Popularity, "popularity", 0, "Zipf exponent of those addresses, above 1; 0: all alike")
	f.StringArrayVar(&s.events, "event", nil, "what happens on the way, as \"20s fail 2\"")
	f.Uint64Var(&s.Seed, "seed", 1, "of all that is random")
	f.StringVarP(&s.file, "workload", "f", "", "read the workload from `FILE`, - for the input; other flags are then ignored")
	f.BoolVar(&s.picks, "picks", false, "print the server of each connection")
	f.BoolVar(&s.explain, "explain", false, "print the arithmetic of each pick")
	f.BoolVar(&s.json, "json", false, "print the report as JSON")
	f.BoolVar(&s.show, "show-workload", false, "print the workload as JSON and do nothing more")
	cmd.RegisterFlagCompletionFunc("scheduler", cobra.FixedCompletions(sched.Names(), cobra.ShellCompDirectiveNoFileComp))
}

// read reads the workload from the flags or the file.
func (s *schedSim) read(cmd *cobra.Command) error {
	if s.file != "" {
		return s.readFile(cmd.InOrStdin())
	}
	if err := s.Flags.UnmarshalText([]byte(s.flags)); err != nil {
		return fmt.Errorf("--sched-flags: %w", err)
	}
	if len(s.slow) > len(s.weights) {
		return fmt.Errorf("--slow has %d values, but --weights makes %d servers", len(s.slow), len(s.weights))
	}
	s.Arrivals, s.Durations = sim.Law(s.arrivals), sim.Law(s.durations)
	s.Lasts, s.Lingers = sim.Duration(s.lasts), sim.Duration(s.lingers)
	for i, w := range s.weights {
		server := sim.Server{Weight: w}
		if i < len(s.slow) {
			server.Slow = s.slow[i]
		}
		s.Servers = append(s.Servers, server)
	}
	for _, text := range s.events {
		e, err := sim.ParseEvent(text)
		if err != nil {
			return fmt.Errorf("--%w", err)
		}
		s.Events = append(s.Events, e)
	}
	return s.readLimits()
}

func (s *schedSim) readLimits() error {
	for _, text := range s.limits {
		server, upper, lower, ok := parseLimit(text)
		if !ok {
			return fmt.Errorf("--limit %s: not of the form SERVER=UPPER or SERVER=UPPER:LOWER, such as 2=40:30", text)
		}
		if server < 1 || server > len(s.Servers) {
			return fmt.Errorf("--limit %s: there is no server %d; --weights makes %d, counted from 1", text, server, len(s.Servers))
		}
		if lower > upper {
			return fmt.Errorf("--limit %s: the lower threshold is above the upper one", text)
		}
		s.Servers[server-1].Upper, s.Servers[server-1].Lower = upper, lower
	}
	return nil
}

// parseLimit reads "2=40:30" or "2=40".
func parseLimit(text string) (server int, upper, lower uint32, ok bool) {
	of, thresholds, ok := strings.Cut(text, "=")
	most, least, both := strings.Cut(thresholds, ":")
	if !both {
		least = "0"
	}
	n, err1 := strconv.Atoi(of)
	u, err2 := strconv.ParseUint(most, 10, 32)
	l, err3 := strconv.ParseUint(least, 10, 32)
	return n, uint32(u), uint32(l), ok && errors.Join(err1, err2, err3) == nil
}

func (s *schedSim) readFile(in io.Reader) error {
	if s.file != "-" {
		f, err := os.Open(s.file)
		if err != nil {
			return fmt.Errorf("--workload: %w", err)
		}
		defer f.Close()
		in = f
	}
	d := json.NewDecoder(in)
	d.DisallowUnknownFields()
	s.Workload = sim.Workload{}
	if err := d.Decode(&s.Workload); err != nil {
		return fmt.Errorf("--workload %s: %w; --show-workload prints what it is like", s.file, err)
	}
	return nil
}

func (s *schedSim) run(w io.Writer) error {
	if s.show {
		return printJSON(w, s.Workload)
	}
	picks, n := sim.NewPicks(w), 0
	var failed error
	report, err := sim.Run(s.Workload, s.explain, func(p sim.Pick) {
		n++
		if s.explain {
			failed = sim.Explain(w, n, p)
		}
		if s.picks {
			picks.Add(p.Server)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	picks.Flush()
	if s.json {
		return printJSON(w, report)
	}
	if s.picks || s.explain {
		fmt.Fprintln(w)
	}
	return report.Print(w)
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

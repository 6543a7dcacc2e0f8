package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"uvs/sched"
	"uvs/sched/sim"
)

func schedReplayCmd() *cobra.Command {
	var scheduler, flags string
	var weights []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Replay recorded traffic through another scheduler or other weights",
		Long: `Replay what ` + "`uvs sched record`" + ` recorded through another scheduler, or with other weights,
and compare: each server's share of the connections and the most that were active at once, Jain's
index of fairness, how often a client got the same server as last time, and what moved. - reads
standard input.

Connections come, become active and end when they did, wherever they go: that a server would
have been slower with more of them is not known. What a scheduler remembers from before the
recording (whose turn it is, for rr) is not known either.`,
		Example: `  uvs sched replay monday.jsonl -s wlc
  uvs sched replay monday.jsonl -w 10.1.0.1:80=3,10.1.0.2:80=1`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := replayedOtherwise(scheduler, flags, weights)
			if err != nil {
				return fmt.Errorf("sched replay: %w", err)
			}
			lines, err := readRecording(args[0], cmd.InOrStdin())
			if err != nil {
				return fmt.Errorf("sched replay: %s: %w", args[0], err)
			}
			c, err := sim.Replay(lines, o)
			if err != nil {
				return fmt.Errorf("sched replay: %w", err)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), c)
			}
			return c.Print(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVarP(&scheduler, "scheduler", "s", "", "another scheduler: "+strings.Join(sched.Names(), ", "))
	f.StringVarP(&flags, "sched-flags", "b", "", "`FLAGS` of that scheduler: sh-fallback, sh-port, mh-fallback, mh-port")
	f.StringSliceVarP(&weights, "weights", "w", nil, "other weights, each `SERVER=WEIGHT`, as 10.1.0.1:80=3")
	f.BoolVar(&asJSON, "json", false, "print the comparison as JSON")
	cmd.RegisterFlagCompletionFunc("scheduler", cobra.FixedCompletions(sched.Names(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func replayedOtherwise(scheduler, flags string, weights []string) (sim.Otherwise, error) {
	o := sim.Otherwise{Scheduler: scheduler, Weights: map[netip.AddrPort]int32{}}
	if scheduler == "" && flags != "" {
		return o, errors.New("--sched-flags are those of --scheduler")
	}
	if err := o.Flags.UnmarshalText([]byte(flags)); err != nil {
		return o, fmt.Errorf("--sched-flags: %w", err)
	}
	for _, text := range weights {
		server, weight, _ := strings.Cut(text, "=")
		addr, err1 := netip.ParseAddrPort(server)
		w, err2 := strconv.ParseInt(weight, 10, 32)
		if err1 != nil || err2 != nil || w < 0 {
			return o, fmt.Errorf("--weights %s: not of the form SERVER=WEIGHT, such as 10.1.0.1:80=3", text)
		}
		o.Weights[addr] = int32(w)
	}
	return o, nil
}

func readRecording(name string, in io.Reader) ([]sim.Line, error) {
	if name == "-" {
		return sim.ReadRecording(in)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	defer f.Close()
	return sim.ReadRecording(f)
}

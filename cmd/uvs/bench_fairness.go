package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"uvs/bench"
	"uvs/sched"
)

func benchFairnessCmd() *measureCmd {
	var weights []string
	m := newMeasureCmd(&cobra.Command{
		Use:   "fairness",
		Short: "How fairly each scheduler shares out connections",
		Long: `Opens connections through the director, each by one SYN, and notes which server
each comes to: Jain's index, the best served server to the mean, and the furthest that
any server ever was from its share. The same connections go through the scheduler in
a simulation (uvs sched sim), which has to come to the same picks.`,
	})
	f := &m.flags
	fair := &f.options.Fairness
	m.measures = func() (_ []bench.Part, err error) {
		if fair.Weights, err = weightLists(weights); err != nil {
			return nil, err
		}
		if err := knownSchedulers(fair.Schedulers); err != nil {
			return nil, err
		}
		for _, w := range fair.Weights {
			f.options.Servers = max(f.options.Servers, len(w))
		}
		return f.parts(bench.Fairness)
	}
	fl := m.Flags()
	fl.StringSliceVar(&fair.Schedulers, "schedulers", sched.Names(), "which schedulers")
	fl.StringArrayVarP(&weights, "weights", "w", []string{"1,1,1,1", "4,3,2,1"}, "a server of each weight (may be repeated)")
	fl.IntVarP(&fair.Connections, "connections", "n", 6000, "connections in each case, rounded down to whole turns of the weights")
	fl.IntVar(&fair.Keys, "addresses", 1000, "destination addresses for dh, lblc and lblcr, at most 16384")
	f.preset(m.Command, map[string]string{"mode": "nat", "rounds": "1"})
	hide(m.Command, "size", "flows", "rate", "scheduler", "workers", "window", "warm", "servers", "baseline", "once")
	return m
}

// preset gives flags other defaults than they have elsewhere.
func (f *benchFlags) preset(cmd *cobra.Command, defaults map[string]string) {
	for name, value := range defaults {
		fl := cmd.Flags().Lookup(name)
		if list, ok := fl.Value.(pflag.SliceValue); ok { // Set would make the user's own words an addition
			_ = list.Replace(strings.Split(value, ","))
			value = "[" + value + "]"
		} else {
			_ = fl.Value.Set(value) // a literal that fits
		}
		fl.DefValue = value
	}
}

// hide takes flags out of the help that a measure has no use for.
func hide(cmd *cobra.Command, names ...string) {
	for _, n := range names {
		_ = cmd.Flags().MarkHidden(n)
	}
}

// weightLists reads "4,3,2,1".
func weightLists(texts []string) ([][]int32, error) {
	var all [][]int32
	for _, text := range texts {
		var weights []int32
		for _, s := range strings.Split(text, ",") {
			n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 32)
			if err != nil || n < 1 || n > 65535 {
				return nil, fmt.Errorf("--weights %s: numbers from 1 to 65535 with commas", text)
			}
			weights = append(weights, int32(n))
		}
		if len(weights) > bench.MaxServers {
			return nil, fmt.Errorf("--weights: at most %d servers", bench.MaxServers)
		}
		all = append(all, weights)
	}
	return all, nil
}

func knownSchedulers(names []string) error {
	for _, n := range names {
		if !slices.Contains(sched.Names(), n) {
			return fmt.Errorf("no scheduler %q: %s", n, strings.Join(sched.Names(), ", "))
		}
	}
	return nil
}

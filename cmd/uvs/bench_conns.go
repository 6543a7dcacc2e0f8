package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"uvs/bench"
)

func benchConnsCmd() *cobra.Command {
	var f benchFlags
	var hold []string
	c := &f.options.Crowd
	cmd := &cobra.Command{
		Use:   "conns",
		Short: "New connections/s, how many at a time, and the memory and CPU time of each",
		Long: `Opens new connections through the ports, one frame each, as fast as the generator can
or at --rate, while --live others stay; then fills directors up to --hold connections,
sends one more frame for every one, and divides the memory by their number.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := among("--by", c.First, "udp", "syn"); err != nil {
				return err
			}
			if c.Hold, err = counts(hold); err != nil {
				return fmt.Errorf("--hold: %w", err)
			}
			if c.Live < 0 || c.Live > maxHold || c.Fill < 1000 {
				return fmt.Errorf("--live is 0 to %d, --fill at least 1000", maxHold)
			}
			if err := f.complete(); err != nil {
				return err
			}
			c.Rate, f.options.Table = f.rate, 1<<23
			return f.runParts(cmd, "conns", f.connParts()...)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&c.First, "by", []string{"udp", "syn"}, "what opens a connection: a UDP datagram, a TCP SYN")
	fl.IntVar(&c.Live, "live", 100_000, "connections that stay while new ones are opened")
	fl.StringSliceVar(&hold, "hold", []string{"10k", "100k", "1M"}, "how many connections to hold, 10M at most; \"\" for none")
	fl.Lookup("rounds").Usage = "how often new connections are measured; 0: not, --hold alone"
	fl.Float64Var(&c.Fill, "fill", 150_000, "frames a second while filling up")
	f.preset(cmd, map[string]string{"mode": "null,dr,nat,fullnat,nft", "rounds": "4", "scheduler": "wlc", "servers": "1000"})
	hide(cmd, "size", "flows")
	return cmd
}

// connParts are the measures of conns. Rounds are for new connections: memory does
// not change from one to the next.
func (f *benchFlags) connParts() []bench.Part {
	open, hold := f.options, f.options
	var parts []bench.Part
	if len(open.Crowd.First) > 0 && open.Rounds > 0 {
		parts = append(parts, bench.Part{Measure: bench.Open, Options: open})
	}
	if len(hold.Crowd.Hold) > 0 {
		hold.Rounds, hold.Window = 1, 100*time.Millisecond
		hold.Table = max(hold.Table, (len(hold.Targets)+1)*slices.Max(hold.Crowd.Hold))
		parts = append(parts, bench.Part{Measure: bench.Hold, Options: hold})
	}
	return parts
}

// maxHold is how many connections a generator has flows for.
const maxHold = 10_000_000

// counts reads "10k", "1M" and plain numbers, ascending.
func counts(words []string) ([]int, error) {
	var all []int
	for _, w := range words {
		if w == "" {
			continue
		}
		times, digits := 1, strings.TrimRight(w, "kKM")
		switch w[len(digits):] {
		case "k", "K":
			times = 1000
		case "M":
			times = 1_000_000
		case "":
		default:
			digits = w // "1kM"
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 || n > maxHold/times {
			return nil, fmt.Errorf("%q is no number such as 100k, 10M at most", w)
		}
		all = append(all, n*times)
	}
	slices.Sort(all)
	return all, nil
}

func among(flag string, have []string, allowed ...string) error {
	for _, h := range have {
		if !slices.Contains(allowed, h) {
			return fmt.Errorf("%s %s: of %v", flag, h, allowed)
		}
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"uvs/bench"
)

func benchConnsCmd() *measureCmd {
	var hold []string
	m := newMeasureCmd(&cobra.Command{
		Use:   "conns",
		Short: "New connections/s, how many at a time, and the memory and CPU time of each",
		Long: `Opens new connections through the ports, one frame each, as fast as the generator can
or at --rate, while --live others stay; then fills directors up to --hold connections,
sends one more frame for every one, and divides the memory by their number.

With --duration it does something else: --conns clients open a TCP connection, make
one request, are closed, and open the next, for that long, with a figure for every
minute and the ratio of the last minute to the first. One target after the other:

    uvs bench conns --duration 5m --mode nat,fullnat --servers 2 --local-addresses 1

status 1 says that a connection failed, or that the last minute had less than 0.9 of
the first.`,
	})
	f := &m.flags
	c := &f.options.Connections
	m.measures = func() ([]bench.Part, error) {
		if err := f.checkConns(hold); err != nil {
			return nil, err
		}
		if err := f.complete(); err != nil {
			return nil, err
		}
		c.Rate, f.options.Table = f.rate, 1<<23
		return f.connParts(), nil
	}
	fl := m.Flags()
	fl.StringSliceVar(&c.First, "by", []string{"udp", "syn"}, "what opens a connection: a UDP datagram, a TCP SYN")
	fl.IntVar(&c.Live, "live", 100_000, "connections that stay while new ones are opened")
	fl.StringSliceVar(&hold, "hold", []string{"10k", "100k", "1M"}, "how many connections to hold, 10M at most; \"\" for none")
	fl.DurationVar(&c.Duration, "duration", 0, "open and close TCP connections for so `LONG`, instead of all else")
	fl.IntVar(&f.options.Conns, "conns", 32, "clients at a time, with --duration")
	fl.IntVar(&f.options.Locals, "local-addresses", 20, "local addresses of a FULLNAT service")
	fl.Lookup("rounds").Usage = "how often new connections are measured; 0: not, --hold alone"
	fl.Float64Var(&c.Fill, "fill", 150_000, "frames a second while filling up")
	f.preset(m.Command, map[string]string{"mode": "null,dr,nat,fullnat,nft", "rounds": "4", "scheduler": "wlc", "servers": "1000"})
	hide(m.Command, "size", "flows")
	return m
}

// checkConns refuses what conns cannot do, and reads the numbers of --hold.
func (f *benchFlags) checkConns(hold []string) (err error) {
	c := &f.options.Connections
	if err := among("--by", c.First, "udp", "syn"); err != nil {
		return err
	}
	if c.Hold, err = counts(hold); err != nil {
		return fmt.Errorf("--hold: %w", err)
	}
	if c.Live < 0 || c.Live > maxHold || c.Fill < 1000 {
		return fmt.Errorf("--live is 0 to %d, --fill at least 1000", maxHold)
	}
	if c.Duration != 0 && c.Duration < minSustained {
		return fmt.Errorf("--duration %s: %s at least", c.Duration, minSustained)
	}
	if f.options.Locals < 1 || f.options.Locals > bench.MaxLocals {
		return fmt.Errorf("--local-addresses %d: 1 to %d", f.options.Locals, bench.MaxLocals)
	}
	if f.options.Conns < 1 || f.options.Conns > 1000 {
		return fmt.Errorf("--conns %d: 1 to 1000", f.options.Conns)
	}
	return nil
}

// connParts are the measures of conns. Rounds are for new connections: memory does
// not change from one to the next.
func (f *benchFlags) connParts() []bench.Part {
	open, hold := f.options, f.options
	if open.Connections.Duration > 0 {
		open.Rounds = 1
		return []bench.Part{{Measure: bench.Sustain, Options: open}}
	}
	var parts []bench.Part
	if len(open.Connections.First) > 0 && open.Rounds > 0 {
		parts = append(parts, bench.Part{Measure: bench.Open, Options: open})
	}
	if len(hold.Connections.Hold) > 0 {
		hold.Rounds, hold.Window = 1, 100*time.Millisecond
		hold.Table = max(hold.Table, (len(hold.Targets)+1)*slices.Max(hold.Connections.Hold))
		parts = append(parts, bench.Part{Measure: bench.Hold, Options: hold})
	}
	return parts
}

// notSustained is an error that names the targets that did not open connections as
// fast, and as surely, at the end as at the beginning.
func notSustained(r *bench.Report) error {
	if r == nil || r.Partial != "" {
		return nil
	}
	var all []string
	for i := range r.Sustained {
		s := &r.Sustained[i]
		if v := s.Verdict(); v != "sustained" {
			all = append(all, fmt.Sprintf("%s: %s, last/first %.3f, %d failed", s.Target, v, s.Ratio, s.Failed))
		}
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}

// minSustained is the shortest run of connections opened and closed that has two
// halves to compare.
const minSustained = 2 * time.Second

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

package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"uvs/bench"
)

func benchRecoveryCmd() *measureCmd {
	m := newMeasureCmd(&cobra.Command{
		Use:   "recovery",
		Short: "How long an overload or a stall is felt when it is over",
		Long: `Offers more than each target can take for some seconds, or stops its process for some
milliseconds, and follows single frames: what is lost meanwhile and as what, until
when, and when the latency is what it was before. A generator on a machine with two
CPUs can hardly offer more than a director takes: threads that want the director's
CPU as well (--hogs) help it.`,
	})
	f := &m.flags
	s := &f.options.Recovery
	m.measures = func() ([]bench.Part, error) {
		if err := among("--case", s.Cases, "overload", "stall"); err != nil {
			return nil, err
		}
		if s.Factor <= 0 || s.Back <= 0 || s.Back > 1 || f.rate <= 0 || s.Burners < 0 || s.Burners > 64 {
			return nil, errors.New("--factor, --back and --rate are positive, --back at most 1, --hogs at most 64")
		}
		s.Rate = f.rate
		return f.parts(bench.Recover)
	}
	fl := m.Flags()
	fl.StringSliceVar(&s.Cases, "case", []string{"overload", "stall"}, "what is done to the targets")
	fl.Float64Var(&s.Factor, "factor", 1.5, "offered during the overload, of the capacity")
	fl.Float64Var(&s.Back, "back", 0.5, "offered before and after, of the capacity")
	fl.DurationVar(&s.Before, "before", time.Second, "time before the overload or stall")
	fl.DurationVar(&s.Overload, "overload", 2*time.Second, "how long the overload lasts")
	fl.DurationVar(&s.After, "after", 2*time.Second, "time after it")
	fl.IntVar(&s.Burners, "hogs", 2, "threads that want the forwarder's CPU during the overload")
	fl.DurationVar(&s.Stall, "stall", 20*time.Millisecond, "how long the process is stopped")
	fl.Lookup("rate").Usage = "frames a second while it is stopped"
	f.preset(m.Command, map[string]string{"mode": "null,dr,nat", "rounds": "1", "rate": "250000"})
	hide(m.Command, "size", "flows", "baseline", "once")
	return m
}

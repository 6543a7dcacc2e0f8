package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"uvs/bench/load"

	"github.com/spf13/cobra"

	"uvs/bench"
)

func benchDisruptCmd() *measureCmd {
	var events []string
	m := newMeasureCmd(&cobra.Command{
		Use:   "disrupt",
		Short: "What breaks and who moves when servers come, go and die",
		Long: `Holds connections open through the director, opens new ones, and changes the servers
meanwhile: one is added, removed (ipvsadm -d), quiesced (weight 0), killed (SIGKILL)
or unplugged (link down); a dead one is removed a little later, as a health checker
would. Shown are the connections that broke, the clients that are sent elsewhere beside
the fewest there can be, and how long nothing went.`,
	})
	f := &m.flags
	d := &f.options.Disrupt
	m.measures = func() ([]bench.Part, error) {
		if err := f.disruptions(events); err != nil {
			return nil, err
		}
		return f.parts(bench.Disrupt)
	}
	fl := m.Flags()
	fl.StringSliceVar(&d.Schedulers, "schedulers", []string{"sh", "mh", "dh", "lblc", "wlc", "rr"}, "which schedulers")
	fl.StringSliceVar(&events, "event", []string{"add", "remove", "quiesce", "kill", "unplug"}, "what happens")
	fl.IntVar(&d.Held, "held", 200, "connections held open")
	fl.IntVar(&d.Keys, "keys", 500, "clients (addresses for dh and lblc) whose server is asked for before and after")
	fl.Float64Var(&d.Rate, "new", 200, "new connections a second")
	fl.DurationVar(&d.Detect, "detect", 300*time.Millisecond, "from a death until the server is removed")
	fl.DurationVar(&d.Before, "before", time.Second, "how long all is well")
	fl.DurationVar(&d.After, "after", 2*time.Second, "how long it is watched afterwards")
	f.preset(m.Command, map[string]string{"mode": "nat", "rounds": "1", "servers": "4"})
	hide(m.Command, "size", "flows", "rate", "scheduler", "window", "warm", "offloads", "baseline", "once")
	fl.Lookup("servers").Usage = "real servers at the beginning, each a node of its own"
	return m
}

// disruptions checks what disrupt is to measure.
func (f *benchFlags) disruptions(events []string) error {
	d := &f.options.Disrupt
	if err := knownSchedulers(d.Schedulers); err != nil {
		return err
	}
	for _, e := range events {
		if !slices.Contains(bench.Events, bench.Event(e)) {
			return fmt.Errorf("--event %s: of %v", e, bench.Events)
		}
		d.Events = append(d.Events, bench.Event(e))
	}
	d.Servers = f.options.Servers
	if d.Servers < 2 || d.Servers > bench.MaxClusterServers {
		return fmt.Errorf("--servers %d: 2 to %d", d.Servers, bench.MaxClusterServers)
	}
	if d.Held > 2000 || d.Held < 1 || d.Keys < 1 || d.Keys > 4096 || d.Rate > 2000 {
		return errors.New("at most 2000 connections held, 4096 keys and 2000 new connections a second")
	}
	return nil
}

func benchServeCmd() *cobra.Command {
	var number uint16
	var port int
	cmd := &cobra.Command{
		Use: "serve", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return load.ServeNumber(number, port) },
	}
	cmd.Flags().Uint16Var(&number, "number", 1, "what to answer with")
	cmd.Flags().IntVar(&port, "port", 80, "where to listen")
	return cmd
}

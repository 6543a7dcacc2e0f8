package main

import (
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"uvs/forwarder/config"
	"uvs/internal/peer"
	"uvs/internal/top"
)

func topCmd() *cobra.Command {
	var socket, sort string
	var every time.Duration
	var n, servers int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch services, servers, decisions, drops and rings",
		Long: `Watch the director: services and servers with their ideal and actual part of new
connections, rates, the last decisions, drops by reason and the state of the receive rings. The
keys are on the last line. Into a pipe, or with --json, it writes a line of JSON each time.`,
		Example: `  uvs top
  uvs top --json -n 1 | jq .services`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			if every < 100*time.Millisecond {
				return fmt.Errorf("top: --every %v: 100ms or more", every)
			}
			d := newClient(socket)
			if !asJSON && n == 0 && term.IsTerminal(int(os.Stdout.Fd())) && term.IsTerminal(int(os.Stdin.Fd())) {
				return top.Page(ctx, d, every, os.Stdin, os.Stdout)
			}
			q := config.SummaryQuery{Services: 1000, Servers: servers, Sort: sort}
			return top.Lines(ctx, cmd.OutOrStdout(), d, q, every, n)
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", peer.Socket(), "control socket of the director")
	f.DurationVar(&every, "every", time.Second, "time between two looks")
	f.BoolVar(&asJSON, "json", false, "write lines of JSON also to a terminal")
	f.IntVarP(&n, "count", "n", 0, "end after so many lines of JSON; 0: go on until interrupted")
	f.IntVar(&servers, "servers", 20, "in JSON: list at most so many servers of each service")
	f.StringVar(&sort, "sort", "added", "in JSON: which servers come first: added, connections, rate, weight, load, actual")
	return cmd
}

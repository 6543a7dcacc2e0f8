package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os/signal"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/explain"
	"uvs/internal/peer"
)

func traceCmd() *cobra.Command {
	var socket string
	var asJSON, neighbours bool
	cmd := &cobra.Command{
		Use:   "trace [N]",
		Short: "Show what the director decides about the next N packets",
		Long: `Show what the director decides about the next N packets (10 unless said), stage
by stage, with the scheduler's arithmetic and the header fields that change.
Packets of ARP and neighbour discovery are left out, unless --neighbours is given.
Recording slows the director down while it lasts, and costs nothing otherwise. So
only root and the user the director runs as may record.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n := 10
			if len(args) == 1 {
				var err error
				if n, err = strconv.Atoi(args[0]); err != nil || n < 1 {
					return fmt.Errorf("trace: %q is not a number of packets, from 1 on", args[0])
				}
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			for t, err := range client.New(socket).Trace(ctx, n, config.TraceOptions{Neighbours: neighbours}) {
				if ctx.Err() != nil {
					return nil
				}
				if err != nil {
					return err
				}
				if err := printTrace(cmd.OutOrStdout(), t, asJSON); err != nil {
					return err
				}
			}
			return nil
		},
	}
	traceFlags(cmd, &socket, &asJSON)
	cmd.Flags().BoolVar(&neighbours, "neighbours", false, "record packets of ARP and neighbour discovery too")
	return cmd
}

func traceFlags(cmd *cobra.Command, socket *string, asJSON *bool) {
	cmd.Flags().StringVar(socket, "socket", peer.Socket(), "control socket of the director")
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON, a packet a line")
}

func printTrace(w io.Writer, t config.Trace, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(t)
	}
	if err := explain.Print(w, t); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

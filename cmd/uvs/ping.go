package main

import (
	"fmt"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/internal/ping"
)

// pingCmd is also "ping" in the nodes of a host without ping.
func pingCmd() *cobra.Command {
	var cfg ping.Config
	var interval, wait float64
	cmd := &cobra.Command{
		Use:     "ping ADDRESS",
		Short:   "Send ICMP echo requests",
		Example: "  uvs ping -c 3 172.16.253.63",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval <= 0 || wait <= 0 {
				return fmt.Errorf("-i and -W want seconds above 0")
			}
			if cfg.Size > 65507 {
				return fmt.Errorf("-s %d: it can be 8 to 65507", cfg.Size)
			}
			cfg.Target = args[0]
			cfg.Interval = time.Duration(interval * float64(time.Second))
			cfg.Wait = time.Duration(wait * float64(time.Second))
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return ping.Run(ctx, cfg, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.IntVarP(&cfg.Count, "count", "c", 0, "stop after this many requests (0: never)")
	f.Float64VarP(&interval, "interval", "i", 1, "`SECONDS` between requests")
	f.Float64VarP(&wait, "timeout", "W", 2, "`SECONDS` to wait for the last answer")
	f.IntVarP(&cfg.Size, "size", "s", 56, "bytes of data")
	return cmd
}

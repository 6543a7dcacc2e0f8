package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/internal/proc"
)

func procCmd() *cobra.Command {
	var socket string
	var once bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "proc DIR",
		Short: "Keep /proc/net/ip_vs and its kin in DIR for collectors",
		Long: `Keep files in the formats of /proc/net/ip_vs, ip_vs_conn, ip_vs_conn_sync,
ip_vs_stats, ip_vs_stats_percpu and ip_vs_app in DIR/net, until SIGTERM or
SIGINT. Collectors written for the kernel read them, such as
node_exporter --collector.ipvs --path.procfs=DIR.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			director := newClient(socket)
			if once {
				return proc.Write(ctx, args[0], director)
			}
			if interval <= 0 {
				return fmt.Errorf("--interval %s: it must be above 0", interval)
			}
			if err := proc.Write(ctx, args[0], director); err != nil && !errors.Is(err, client.ErrNoDirector) {
				return err // a folder that cannot be written does not get better by waiting
			}
			proc.Keep(ctx, args[0], director, interval, func(err error) { fmt.Fprintln(os.Stderr, "uvs:", err) })
			return nil
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "control socket (default UVS_SOCKET or @uvs)")
	cmd.Flags().BoolVar(&once, "once", false, "write the files once and end")
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "time between two writings")
	return cmd
}

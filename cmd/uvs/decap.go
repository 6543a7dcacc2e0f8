package main

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/internal/decap"
	"uvs/internal/lean"
)

func decapCmd() *cobra.Command {
	cfg := decap.Config{Log: slog.Default()}
	var from []string
	cmd := &cobra.Command{
		Use:   "decap",
		Short: "Take a director's tunnel headers off, on a real server",
		Long: `Receives IP in IP, GRE and (with --gue) GUE, takes the outer header off and hands
what is inside to this host, which holds the VIP. For real servers that a director
reaches with -i and whose kernel has no tunnel device for it.`,
		Example: `  ip addr add 172.16.253.63/32 dev lo
  sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
  uvs decap`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, f := range from {
				p, err := parsePrefix(f)
				if err != nil {
					return fmt.Errorf("--from %s: neither an address nor a network", f)
				}
				cfg.From = append(cfg.From, p)
			}
			if cfg.GUE < 0 || cfg.GUE > 65535 {
				return fmt.Errorf("--gue %d: not a port", cfg.GUE)
			}
			lean.NoPackets() // only checksums are used of package frame
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return decap.Run(ctx, cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Via, "via", "auto", "how packets reach the host: tun, lo, or auto (tun where /dev/net/tun opens)")
	f.IntVar(&cfg.GUE, "gue", 0, "UDP `PORT` on which GUE arrives")
	f.StringSliceVar(&from, "from", nil, "accept tunnels from these addresses or networks only")
	return cmd
}

// parsePrefix reads a network or a single address.
func parsePrefix(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Prefix(a.BitLen())
}

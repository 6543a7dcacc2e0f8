package main

import (
	"log/slog"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/internal/lean"
	"uvs/internal/web"
)

func httpCmd() *cobra.Command {
	cfg := web.Config{Log: slog.Default()}
	cmd := &cobra.Command{
		Use:   "http",
		Short: "A web server that says its name: a real server to try things with",
		Long: `Serves its name at /, N bytes at /bytes/N, the SHA-256 of an upload at /sum (POST)
and the client's address at /client; over UDP a DNS responder and an echo.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lean.NoPackets()
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return web.Serve(ctx, cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Name, "text", "Web", "what the page says")
	f.StringVar(&cfg.HTTP, "listen", ":80", "TCP `ADDRESS` of the web server")
	f.StringVar(&cfg.DNS, "dns", "", "UDP `ADDRESS` of a DNS responder, for example :53")
	f.StringVar(&cfg.Echo, "echo", "", "UDP `ADDRESS` of an echo responder, for example :7")
	return cmd
}

package main

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/internal/get"
)

// getCmd is also "curl" in the nodes of a host without curl, so the letters of its flags are
// curl's.
func getCmd() *cobra.Command {
	var cfg get.Config
	var seconds float64
	var output string
	cmd := &cobra.Command{
		Use:     "get URL...",
		Short:   "Fetch over HTTP, one connection for each request",
		Example: "  uvs get -n 4 172.16.253.63",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name a URL, for example: uvs get 172.16.253.63")
			}
			cfg.URLs, cfg.Timeout = args, time.Duration(seconds*float64(time.Second))
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			var w io.Writer = cmd.OutOrStdout()
			if output != "" {
				f, err := os.Create(output)
				if err != nil {
					return err
				}
				defer f.Close()
				w = f
			}
			return get.Run(ctx, cfg, w)
		},
	}
	f := cmd.Flags()
	f.IntVarP(&cfg.Times, "times", "n", 1, "how often to fetch each URL")
	f.Float64VarP(&seconds, "max-time", "m", 30, "`SECONDS` a request may take")
	f.BoolVarP(&cfg.Head, "head", "I", false, "ask for the headers only")
	f.BoolVarP(&cfg.Include, "include", "i", false, "print the headers, too")
	f.BoolVarP(&cfg.Fail, "fail", "f", false, "treat a status of 400 or more as an error")
	f.BoolVarP(&cfg.Progress, "progress", "p", false, "print a line for each answer instead of its body")
	f.StringVarP(&output, "output", "o", "", "write to `FILE`")
	f.BoolP("silent", "s", false, "accepted for curl's sake; there is no progress meter")
	f.BoolP("show-error", "S", false, "accepted for curl's sake; errors are always shown")
	return cmd
}

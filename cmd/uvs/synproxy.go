package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/internal/synproxy"
)

func synproxyCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "synproxy [--socket ADDRESS] [OPTION]... [on|off]",
		Short: "Answer SYNs in the place of a service's servers",
		Long: `Switch the SYN proxy of a service on or off. With it the director answers SYNs
itself, with SYN cookies, and opens the connection to a server only when the client has
proved that it exists: a flood of SYNs takes no memory and reaches no server. All servers
of the service must be by NAT (-m) or FULLNAT (docs/synproxy.md). Without on or off the
settings are listed.

` + synproxy.Usage(),
		Example: `  uvs synproxy -t 10.0.0.1:80 on
  uvs synproxy -f 7 off
  uvs synproxy --json`,
		DisableFlagParsing: true,
		RunE:               withWords(synproxy.Parse, runSynproxy),
	}
}

func runSynproxy(ctx context.Context, d *client.Client, c synproxy.Command, w io.Writer) error {
	if c.Op == synproxy.Set {
		return d.SetSynProxy(ctx, c.Key, c.On)
	}
	services, err := servicesOf(ctx, d, c.Key)
	if err != nil {
		return err
	}
	all := synproxy.Of(services)
	switch {
	case c.Op == synproxy.Save:
		for _, line := range synproxy.Lines(all) {
			fmt.Fprintln(w, line)
		}
		return nil
	case c.JSON:
		return printJSON(w, all)
	}
	return synproxy.Print(w, all)
}

package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/internal/viprole"
)

func vipCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "vip [--socket ADDRESS] [OPTION]... [always|host|none|default]",
		Short: "Say when the director answers for a virtual address",
		Long: `Say, for a service, when the director answers for its virtual address, by ARP and
neighbour discovery, and announces it (docs/ha.md):

  always   whatever the host has
  host     only while the host has the address, which keepalived or the agent of a cloud
           gives it; otherwise packets to the service are left alone
  none     never; what is routed here is served
  default  as ` + "`uvs director --vip-role`" + ` says

Without a role the services are listed, with what the director does about each now.

` + viprole.Usage(),
		Example: `  uvs vip -t 10.0.0.1:80 host
  uvs vip --json`,
		DisableFlagParsing: true,
		RunE:               withWords(viprole.Parse, runVIP),
	}
}

func runVIP(ctx context.Context, d *client.Client, c viprole.Command, w io.Writer) error {
	if c.Op == viprole.Set {
		return d.SetVIPRole(ctx, c.Key, c.Role)
	}
	all, err := d.VIPs(ctx)
	if err != nil {
		return err
	}
	if all, err = viprole.Of(all, c.Key); err != nil {
		return fmt.Errorf("vip: %w", err)
	}
	switch {
	case c.Op == viprole.Save:
		for _, line := range viprole.Lines(all) {
			fmt.Fprintln(w, line)
		}
		return nil
	case c.JSON:
		return printJSON(w, all)
	}
	return viprole.Print(w, all)
}

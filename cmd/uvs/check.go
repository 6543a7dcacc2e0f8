package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/check"
)

func checkCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "check [--socket ADDRESS] [add|list|delete] [OPTION]...",
		Short: "Ask real servers whether they serve, through the virtual address",
		Long: `Ask each real server whether it serves: with a client of the director, to the virtual
address and by the server's forwarding method, as packets of other clients travel, and
beside that to the server's own address (docs/check.md). Only a director can see so that
a server has lost the virtual address, does not open the tunnel, or answers past the
director. Nothing of it is counted, listed as a connection, or scheduled.

Without a word all servers are asked once; the exit status is 1 if one does not serve.
add keeps asking, list says what was found, delete ends it. With --act hold a server that
is down gets no new connections, whatever its weight, which stays as it is.

` + check.Usage(),
		Example: `  uvs check
  uvs check -t 10.0.0.1:80 --http /health
  uvs check add -t 10.0.0.1:80 --http /health --act hold --at-most 50%
  uvs check list --json
  uvs check delete -t 10.0.0.1:80`,
		DisableFlagParsing: true,
		RunE:               withWords(check.Parse, runCheck),
	}
}

func runCheck(ctx context.Context, d *client.Client, c check.Command, w io.Writer) error {
	switch c.Op {
	case check.Add:
		return d.AddCheck(ctx, c.Key, *c.Check)
	case check.Delete:
		return d.DeleteCheck(ctx, c.Key, c.Check)
	case check.List:
		return listChecks(ctx, d, c, w)
	}
	var key *config.Key
	if c.Key != (config.Key{}) {
		key = &c.Key
	}
	all, err := d.CheckNow(ctx, config.CheckNow{Service: key, Check: c.Check})
	if err != nil {
		return err
	}
	if err := printChecks(w, all, c.JSON); err != nil {
		return err
	}
	failed := 0
	for _, s := range all {
		if !s.VIP.OK {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("check: %d of %d probes found no answer on the VIP", failed, len(all))
	}
	return nil
}

func listChecks(ctx context.Context, d *client.Client, c check.Command, w io.Writer) error {
	if c.Save {
		services, err := servicesOf(ctx, d, c.Key)
		if err != nil {
			return err
		}
		for _, line := range check.Lines(services) {
			fmt.Fprintln(w, line)
		}
		return nil
	}
	all, err := d.Checks(ctx)
	if err != nil {
		return err
	}
	if c.Key != (config.Key{}) {
		all = check.Of(all, c.Key)
	}
	return printChecks(w, all, c.JSON)
}

func printChecks(w io.Writer, all []config.CheckState, asJSON bool) error {
	if asJSON {
		return printJSON(w, all)
	}
	return check.Print(w, all)
}

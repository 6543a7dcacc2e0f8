package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"uvs/forwarder/client"
	"uvs/internal/mark"
)

func markCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "mark [--socket ADDRESS] [OPTION]...",
		Short: "Give packets the firewall marks that services by mark (-f) stand for",
		Long: `Give packets the firewall marks that services by mark (ipvsadm -f) stand for, in
the words of iptables. The last rule that matches counts. A destination that is a
single address becomes a virtual address: the director answers ARP for it.

` + mark.Usage(),
		Example: `  uvs mark -A -d 172.16.253.63 -p tcp --dport 80 --set-mark 1
  uvs mark -A -d 172.16.253.63 -p tcp --dport 443 --set-mark 1
  ipvsadm -A -f 1 -s rr -p`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			socket, args := leadingSocket(args)
			c, err := mark.Parse(args)
			if errors.Is(err, pflag.ErrHelp) {
				return cmd.Help()
			}
			if err != nil {
				return fmt.Errorf("mark: %w", err)
			}
			return runMark(cmd.Context(), newClient(socket), c, cmd.OutOrStdout())
		},
	}
}

func runMark(ctx context.Context, d *client.Client, c mark.Command, w io.Writer) error {
	change := d.AddMark
	switch c.Op {
	case mark.Flush:
		return d.SetMarks(ctx, nil)
	case mark.Delete:
		change = d.DeleteMark
	case mark.List, mark.Save:
		rules, err := d.Marks(ctx)
		if err != nil {
			return err
		}
		if c.JSON {
			return json.NewEncoder(w).Encode(rules)
		}
		if c.Op == mark.List {
			return mark.Print(w, rules)
		}
		for _, line := range mark.Lines(rules)[1:] {
			fmt.Fprintln(w, line)
		}
		return nil
	}
	for _, r := range c.Rules {
		if err := change(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

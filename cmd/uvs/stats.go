package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/internal/peer"
)

func statsCmd() *cobra.Command {
	var socket string
	var all, asJSON, check, watch bool
	interval := time.Second
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "List what became of every frame the director saw",
		Long: `List what became of every frame the director saw: one counter for each verdict,
drops by their reason, and what its ports count besides (docs/verdicts.md).

With --check it shows for each receive queue that every frame received has ended, waits
or is at hand, and ends with status 1 if one is missing or was counted twice. With --watch
it lists the counters again every second, with what came in that second.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := client.New(socket)
			if check {
				return checkAccounts(cmd.Context(), c, asJSON)
			}
			if watch {
				v := counterView{all: all, asJSON: asJSON}
				return watching(cmd.Context(), interval, func() error { return v.show(cmd.Context(), c) })
			}
			counters, err := c.Counters(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(os.Stdout).Encode(counters)
			}
			return printCounters(counters, all)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", peer.Socket(), "control socket of the director")
	cmd.Flags().BoolVarP(&all, "all", "a", false, "list counters that are 0 too")
	cmd.Flags().BoolVar(&check, "check", false, "show that no frame was lost or counted twice")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&watch, "watch", false, "list again and again, with rates, until Ctrl-C")
	cmd.Flags().DurationVar(&interval, "interval", interval, "time between two lists of --watch")
	return cmd
}

// checkAccounts prints the account of each receive queue. It fails with the first that
// does not balance.
func checkAccounts(ctx context.Context, c *client.Client, asJSON bool) error {
	accounts, err := c.Accounts(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		err = json.NewEncoder(os.Stdout).Encode(accounts)
	}
	for i := range accounts {
		switch a := &accounts[i]; {
		case a.Difference != 0 && err == nil:
			err = fmt.Errorf("stats: %v; difference %+d", a, a.Difference)
		case !asJSON:
			fmt.Println(a)
		}
	}
	return err
}

func printCounters(counters map[string]uint64, all bool) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		if n := counters[name]; n != 0 || all {
			fmt.Fprintf(w, "%s\t%d\n", name, n)
		}
	}
	return w.Flush()
}

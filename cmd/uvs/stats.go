package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/internal/peer"
)

func statsCmd() *cobra.Command {
	var socket string
	var all, asJSON bool
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "List what became of every frame the director saw",
		Long: `List what became of every frame the director saw: one counter for each verdict,
drops by their reason, and what its ports count besides (docs/verdicts.md).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			counters, err := client.New(socket).Counters(cmd.Context())
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
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
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

package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"uvs/forwarder/config"
	"uvs/internal/explain"
)

func tracePathsCmd() *cobra.Command {
	var t tracer
	var look int
	cmd := &cobra.Command{
		Use:   "paths [N] [FILTER…]",
		Short: "Count the ways that packets take through the stages",
		Long: `Record the next N packets (1000 unless said), or those until Ctrl-C or --for, and count
the ways that they took through the stages of the director, the most frequent first. Each
has the number of a packet as an example, which uvs trace show NUMBER shows.

  uvs trace paths
  uvs trace paths 200 port 80 --for 5s --look 2`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := t.words(args, 1000)
			if err != nil {
				return err
			}
			var paths explain.Paths
			if err := t.each(cmd.Context(), n, func(r *config.Trace) (bool, error) { paths.Add(r); return true, nil }); err != nil {
				return err
			}
			return printPaths(cmd.OutOrStdout(), paths.Sorted(), look, t.asJSON)
		},
	}
	t.flags(cmd)
	cmd.Flags().IntVar(&look, "look", 0, "show the example of that line")
	return cmd
}

func printPaths(w io.Writer, all []config.Path, look int, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(all)
	}
	for i, p := range all {
		if _, err := fmt.Fprintf(w, "%2d %7d  %s   (#%d)\n", i+1, p.Packets, p.Path, p.Example.Number); err != nil {
			return err
		}
	}
	switch {
	case len(all) == 0:
		_, err := fmt.Fprintln(w, "no packet came")
		return err
	case look == 0:
		_, err := fmt.Fprintf(w, "look at one: uvs trace show %d\n", all[len(all)-1].Example.Number)
		return err
	case look < 1 || look > len(all):
		return fmt.Errorf("trace: there is no path %d; there are %d", look, len(all))
	}
	if _, err := fmt.Fprintln(w); err != nil {
		return err
	}
	return explain.Print(w, *all[look-1].Example)
}

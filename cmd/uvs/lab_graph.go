package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"uvs/lab"
	"uvs/lab/graph"
)

func labGraphCmd() *cobra.Command {
	var f topologyFlags
	var name *string
	var format string
	cmd := &cobra.Command{
		Use:   "graph [TOPOLOGY|FILE]",
		Short: "Draw a topology, or write the commands that it is made of",
		Long: `Draws a topology by its name, with its options, or that of a file; no lab needs to run.
Without TOPOLOGY it is that of the newest lab, or of the one that --lab names.

Formats: ascii; svg, a picture for the browser; mermaid and dot, for Mermaid and Graphviz;
sh, a script of the plain ip netns commands that the lab is made of, which also ends it;
clab, a file for containerlab.`,
		Example: `  uvs lab graph dr-gateway
  uvs lab graph nat --rs 3 --format svg > nat.svg
  uvs lab graph tun --format sh > tun.sh; sudo sh tun.sh; sudo sh tun.sh down
  uvs lab graph --lab nat --format mermaid`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(graph.Formats(), format) {
				return fmt.Errorf("lab graph: no format %q, there are %s", format, strings.Join(graph.Formats(), ", "))
			}
			t, err := f.drawn(cmd, *name, args)
			if err != nil {
				return err
			}
			return graph.Write(cmd.OutOrStdout(), &t, format)
		},
	}
	name = labFlag(cmd)
	f.add(cmd)
	cmd.Flags().StringVarP(&format, "format", "f", "ascii", "one of "+strings.Join(graph.Formats(), ", "))
	_ = cmd.RegisterFlagCompletionFunc("format", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return graph.Formats(), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

// drawn returns the topology that is asked for; that of a running lab as it is now.
func (f *topologyFlags) drawn(cmd *cobra.Command, name string, args []string) (lab.Topology, error) {
	t, err := f.exported(cmd, name, args)
	if err != nil || len(args) > 0 {
		return t, err
	}
	l, err := lab.Attach(name)
	if err != nil {
		return t, err
	}
	info, err := l.Info()
	if err != nil {
		return t, err
	}
	return info.Now(), nil
}

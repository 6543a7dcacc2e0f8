package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"uvs/internal/rules"
	"uvs/internal/rulesfile"
)

func applyCmd() *cobra.Command {
	var socket string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "apply FILE",
		Short: "Make the running configuration equal to a rules file",
		Long: `Make the running configuration equal to a rules file: what ipvsadm -S printed,
or the lossless form a director saves ("-" is standard input). The commands that
are needed are printed first. What is the same in both keeps its connections and
counters; either all services change, at once, or none.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return apply(cmd.Context(), cmd.OutOrStdout(), socket, args[0], dryRun)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", "", "control socket (default UVS_SOCKET or @uvs)")
	cmd.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "only print what would change")
	return cmd
}

func apply(ctx context.Context, out io.Writer, socket, file string, dryRun bool) error {
	wanted, err := readRules(file)
	if err != nil {
		return err
	}
	director := newClient(socket)
	current, err := rules.Of(ctx, director)
	if err != nil {
		return err
	}
	plan := rules.Diff(current, wanted)
	for _, line := range plan.Lines() {
		fmt.Fprintln(out, line)
	}
	if dryRun {
		return nil
	}
	return plan.Apply(ctx, director)
}

// readRules reads a rules file, or standard input if path is "-".
func readRules(path string) (*rules.Rules, error) {
	if path == "-" {
		return rulesfile.Parse(os.Stdin, path)
	}
	text, err := rulesfile.Text(path)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return rulesfile.Parse(bytes.NewReader(text), path)
}

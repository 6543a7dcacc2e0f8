package main

import (
	"errors"

	"github.com/spf13/cobra"

	"uvs/internal/sysctl"
)

// sysctlCmd is what "sysctl" is in a node whose host has none.
func sysctlCmd() *cobra.Command {
	var quiet, values bool
	cmd := &cobra.Command{
		Use:    "sysctl NAME[=VALUE]...",
		Short:  "Read and write kernel parameters",
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name a parameter, for example: sysctl -w net.ipv4.ip_forward=1")
			}
			return sysctl.Run(args, quiet, values, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.BoolP("write", "w", false, "accepted for sysctl's sake: NAME=VALUE always writes")
	f.BoolVarP(&quiet, "quiet", "q", false, "print nothing for what is set")
	f.BoolVarP(&values, "values", "n", false, "print values without names")
	return cmd
}

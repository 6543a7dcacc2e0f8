package main

import (
	"os"

	"github.com/spf13/cobra"

	"uvs/lab"
)

func labShellCmd() *cobra.Command {
	var name *string
	cmd := &cobra.Command{
		Use:   "shell NODE",
		Short: "A shell in a node, with job control",
		RunE: func(cmd *cobra.Command, args []string) error {
			node, argv, err := nodeAndCommand(args)
			if err != nil {
				return err
			}
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			if len(argv) == 0 {
				argv = []string{shell()}
			}
			return exitWith(lab.Terminal(l.Command(node, argv...)))
		},
	}
	cmd.Flags().SetInterspersed(false)
	name = labFlag(cmd)
	return cmd
}

// shell returns the user's shell, or /bin/sh if that does not exist.
func shell() string {
	if s := os.Getenv("SHELL"); s != "" {
		if _, err := os.Stat(s); err == nil {
			return s
		}
	}
	return "/bin/sh"
}

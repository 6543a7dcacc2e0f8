package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"uvs/lab"
)

func labExecCmd() *cobra.Command {
	var name *string
	cmd := &cobra.Command{
		Use:   "exec NODE -- CMD...",
		Short: "Run a command in a node, with its exit status",
		Long: `Runs CMD in a node with the caller's own standard input and output. Signals are
passed on. The exit status is the command's; 126 when it cannot be run, 127 when
it is not there, 128 and the signal's number when a signal ended it.`,
		Example: "  uvs lab exec client -- curl -s 172.16.253.63",
		RunE: func(cmd *cobra.Command, args []string) error {
			node, argv, err := nodeAndCommand(args)
			if err != nil {
				return err
			}
			if len(argv) == 0 {
				return errors.New("name a command: uvs lab exec NODE -- CMD")
			}
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			return exitWith(lab.Foreground(l.Command(node, argv...)))
		},
	}
	// Everything after the node belongs to the command, with or without "--".
	cmd.Flags().SetInterspersed(false)
	name = labFlag(cmd)
	return cmd
}

// nodeAndCommand splits "NODE [--] CMD...".
func nodeAndCommand(args []string) (string, []string, error) {
	if len(args) == 0 {
		return "", nil, errors.New("name a node: client, director, rs1, rs2, ... or gateway")
	}
	rest := args[1:]
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	return args[0], rest, nil
}

// exitWith ends the process with a command's status if it failed.
func exitWith(err error) error {
	var exit *lab.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	if exit.Stderr != "" {
		_, _ = os.Stderr.WriteString("uvs: " + exit.Stderr + "\n")
	}
	os.Exit(exit.Code)
	return nil
}

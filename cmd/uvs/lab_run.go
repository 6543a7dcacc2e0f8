package main

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/lab"
)

func labRunCmd() *cobra.Command {
	var f topologyFlags
	var node string
	cmd := &cobra.Command{
		Use:   "run TOPOLOGY [-- CMD...]",
		Short: "Start a lab, send HTTP through its director, take it down",
		Long: `Starts a lab, runs CMD in it (in the client, unless --node says where) and takes
the lab down; the exit status is CMD's. Without CMD it sends HTTP requests through
the director, tells which server answered each, and prints the director's listings.`,
		Example: "  uvs lab run nat\n  uvs lab run dr --rs 3 -- curl -s 172.16.253.63",
		RunE: func(cmd *cobra.Command, args []string) error {
			argv := []string(nil)
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				args, argv = args[:at], args[at:]
			}
			if err := oneTopology(args); err != nil {
				return err
			}
			if f.options.Bare && len(argv) == 0 {
				return errors.New("--bare: there is nothing to show without a command")
			}
			l, err := f.start(args[0])
			if err != nil {
				return err
			}
			defer l.Close()
			if len(argv) == 0 {
				return runDemo(cmd, l)
			}
			err = lab.Foreground(l.Command(node, argv...))
			l.Close()
			return exitWith(err)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&node, "node", "client", "node to run CMD in")
	return cmd
}

// runDemo runs the demo. An interrupt ends the lab and the process; errors of the demo that
// this causes are not reported.
func runDemo(cmd *cobra.Command, l *lab.Lab) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	gone := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		l.Close()
		close(gone)
	})
	err := lab.Demo(l, cmd.OutOrStdout())
	if !unhook() {
		<-gone
		os.Exit(130)
	}
	return err
}

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"uvs/internal/manual"
)

func manualCmd() *cobra.Command {
	var date string
	cmd := &cobra.Command{
		Use:   "manual DIR",
		Short: "Write the man pages of all commands",
		Long: `Write a man page for each command into DIR. Those of uvs itself and of uvs ipvsadm are
written by hand and come with the package.`,
		Args:   cobra.ExactArgs(1),
		Hidden: true, // for whoever makes a package
		RunE: func(cmd *cobra.Command, args []string) error {
			day, err := time.Parse(time.DateOnly, date)
			if err != nil {
				return fmt.Errorf("--date %s: a day such as 2026-01-31", date)
			}
			return manual.Write(args[0], cmd.Root(), day, byHand)
		},
	}
	cmd.Flags().StringVar(&date, "date", time.Now().UTC().Format(time.DateOnly), "day that the pages bear")
	return cmd
}

// byHand reports whether a command's page is written by hand or of no use: ipvsadm has a
// language of its own; completion and help are cobra's.
func byHand(c *cobra.Command) bool {
	return c.Name() == "ipvsadm" || c.Name() == "help" || c.Name() == "completion" || c.HasParent() && c.Parent().Name() == "completion"
}

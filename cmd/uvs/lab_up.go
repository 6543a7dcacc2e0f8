package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"uvs/lab"
)

func labUpCmd() *cobra.Command {
	var f topologyFlags
	cmd := &cobra.Command{
		Use:   "up TOPOLOGY",
		Short: "Start a lab that lives on",
		Args:  func(_ *cobra.Command, args []string) error { return oneTopology(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			began := time.Now()
			l, err := f.start(args[0])
			if err != nil {
				return err
			}
			info, err := l.Info()
			if err != nil {
				return err
			}
			if err := l.Detach(); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "lab %s up in %.2f s\n", l.Name, time.Since(began).Seconds())
			if err := info.Print(cmd.OutOrStdout()); err != nil {
				return err
			}
			if info.Impaired() {
				fmt.Fprintln(cmd.OutOrStdout())
				if err := lab.PrintLinks(cmd.OutOrStdout(), info.Links); err != nil {
					return err
				}
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n", info.Next())
			return err
		},
	}
	f.add(cmd)
	return cmd
}

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"uvs/lab"
)

func labUpCmd() *cobra.Command {
	var f topologyFlags
	var stay bool
	cmd := &cobra.Command{
		Use:   "up TOPOLOGY|FILE",
		Short: "Start a lab that lives on",
		Long: `Starts a lab that lives on until uvs lab down. FILE is a topology of your own as YAML
(docs/topology.md); - reads it from standard input. With a file --rs and
--vip-on-director have no meaning: it says these itself.`,
		Example: "  uvs lab up nat --rs 3\n  uvs lab export dr > my.yaml\n  uvs lab up my.yaml",
		Args:    func(_ *cobra.Command, args []string) error { return oneTopology(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			began := time.Now()
			l, err := f.start(cmd, args[0])
			if err != nil {
				return err
			}
			info, err := l.Info()
			if err != nil {
				return err
			}
			if !stay {
				if err := l.Detach(); err != nil {
					return err
				}
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
			if err != nil || !stay {
				return err
			}
			return stayUp(cmd.Context(), l)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&stay, "foreground", false, "stay until Ctrl-C or until the lab is taken down, which ends with this process: for containers and service managers")
	return cmd
}

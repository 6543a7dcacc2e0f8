package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"uvs/lab"
)

func labListCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List your labs, the oldest first",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			infos, err := lab.List()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(append([]*lab.Info{}, infos...))
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(w, "LAB\tTOPOLOGY\tNODES\tUP\tPID")
			for _, in := range infos {
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\n", in.Name, in.Topology.Name, len(in.Topology.Nodes),
					time.Since(in.Started).Round(time.Second), in.PID)
			}
			return w.Flush()
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: what inspect says of each")
	return cmd
}

func labInspectCmd() *cobra.Command {
	var asJSON bool
	var name *string
	cmd := &cobra.Command{
		Use:   "inspect [LAB]",
		Short: "Show a lab's nodes, addresses, services and links",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := attachArg(*name, args)
			if err != nil {
				return err
			}
			info, err := l.Info()
			if err != nil {
				return err
			}
			if !asJSON {
				fmt.Fprintf(cmd.OutOrStdout(), "lab %s, up %s, process %d\n",
					info.Name, time.Since(info.Started).Round(time.Second), info.PID)
				if err := info.Print(cmd.OutOrStdout()); err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout())
				return lab.PrintLinks(cmd.OutOrStdout(), info.Links)
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(info)
		},
	}
	name = labFlag(cmd)
	cmd.ValidArgsFunction = completeLabs
	cmd.Flags().BoolVar(&asJSON, "json", false, "print everything as JSON")
	return cmd
}

func labLogsCmd() *cobra.Command {
	var name *string
	cmd := &cobra.Command{
		Use:   "logs NODE",
		Short: "Print what the services of a node have printed",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			text, err := l.Logs(args[0])
			fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	name = labFlag(cmd)
	return cmd
}

func labKillCmd() *cobra.Command {
	return nodeCmd("kill NODE", "Kill the services of a node: a server that crashes", (*lab.Lab).Kill)
}

func labStartCmd() *cobra.Command {
	return nodeCmd("start NODE", "Start the services of a node again", (*lab.Lab).StartServices)
}

// nodeCmd is a verb that does one thing to a node.
func nodeCmd(use, short string, do func(*lab.Lab, string) error) *cobra.Command {
	var name *string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			return do(l, args[0])
		},
	}
	name = labFlag(cmd)
	return cmd
}

// attachArg finds the lab named by an argument or by --lab.
func attachArg(name string, args []string) (*lab.Lab, error) {
	if len(args) == 1 {
		name = args[0]
	}
	return lab.Attach(name)
}

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/spf13/cobra"

	"uvs/lab"
)

func labBreakCmd() *cobra.Command {
	var name *string
	var seed uint64
	var list bool
	cmd := &cobra.Command{
		Use:   "break FAULT|random",
		Short: "Insert a mistake into a lab, for you to find",
		Long: `Inserts one of the classic mistakes into a running lab and does not say what it did.
FAULT is a name or a code; random takes one that fits the lab, the same one for the
same seed. --list shows what fits. uvs doctor finds it, uvs lab reveal names it.

Faults: ` + wrapped(lab.FaultNames()) + ".",
		Example: "  uvs lab break random --seed 7 --lab dr\n  uvs doctor --lab dr\n  uvs lab reveal --lab dr",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			if list {
				return listFaults(cmd, l)
			}
			if len(args) != 1 {
				return fmt.Errorf("name one fault, or random; uvs lab break --list shows what fits")
			}
			if !cmd.Flags().Changed("seed") {
				seed = rand.Uint64()
			}
			f, err := faultOf(args[0], &l.Topology, seed)
			if err != nil {
				return err
			}
			if err := l.Break(f, seed); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "something in lab %[1]s is wrong now\nfind it: uvs doctor --lab %[1]s     the answer: uvs lab reveal --lab %[1]s\n", l.Name)
			return nil
		},
	}
	name = labFlag(cmd)
	cmd.Flags().Uint64Var(&seed, "seed", 0, "choose the same fault, server and form each time")
	cmd.Flags().BoolVar(&list, "list", false, "list the faults that fit the lab")
	cmd.ValidArgsFunction = completeFaults
	return cmd
}

// wrapped joins words into lines of some 80 columns.
func wrapped(words []string) string {
	text, column := "", len("Faults: ")
	for i, w := range words {
		if i > 0 {
			text += ", "
		}
		if column += len(w) + 2; column > 80 {
			text, column = strings.TrimSuffix(text, " ")+"\n", len(w)+2
		}
		text += w
	}
	return text
}

func faultOf(word string, t *lab.Topology, seed uint64) (*lab.Fault, error) {
	if word == "random" {
		return lab.RandomFault(t, seed)
	}
	return lab.FindFault(word)
}

func listFaults(cmd *cobra.Command, l *lab.Lab) error {
	for i := range lab.Faults {
		if f := &lab.Faults[i]; f.Fits(&l.Topology) {
			fmt.Fprintln(cmd.OutOrStdout(), f.Code, f.Name)
		}
	}
	return nil
}

func completeFaults(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return append(lab.FaultNames(), "random"), cobra.ShellCompDirectiveNoFileComp
}

func labRevealCmd() *cobra.Command {
	var name *string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reveal",
		Short: "Name the mistakes that uvs lab break has inserted",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			all, err := l.Inserted()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(revealed(all))
			}
			if len(all) == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "nothing was inserted into lab %s\n", l.Name)
			}
			for _, f := range all {
				fmt.Fprintf(cmd.OutOrStdout(), "%s %s  on %s\n     done  %s\n     more  docs/doctor.md\n", f.Code, f.Name, f.Node, f.What)
			}
			return nil
		},
	}
	name = labFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// answerOf is what reveal prints as JSON: the fault that was inserted last, and all.
type answerOf struct {
	Code string `json:"code,omitempty"`
	Name string `json:"name,omitempty"`
	Node string `json:"node,omitempty"`
	What string `json:"what,omitempty"`

	Faults []lab.Inserted `json:"faults"`
}

func revealed(all []lab.Inserted) answerOf {
	a := answerOf{Faults: all}
	if len(all) == 0 {
		a.Faults = []lab.Inserted{}
		return a
	}
	a.Code, a.Name, a.Node, a.What = all[0].Code, all[0].Name, all[0].Node, all[0].What
	return a
}

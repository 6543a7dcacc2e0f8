package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"uvs/lab"
)

func labApplyCmd() *cobra.Command {
	var f topologyFlags
	var name *string
	var dry, asJSON bool
	cmd := &cobra.Command{
		Use:   "apply FILE|TOPOLOGY",
		Short: "Change a running lab into what a file says",
		Long: `Compares a running lab with a topology, prints what is to change, and changes it: nodes,
links, addresses, routes, services, impairments and set-up commands. Nodes that stay keep their
processes and interfaces. --dry-run prints the plan only. A change that is not possible in a
running lab is marked with ! in the plan, and then nothing is changed.

The lab is the newest one made of a topology of this name, else the newest one; --lab names
another. What was typed into the lab is not compared, and stays.`,
		Example: "  uvs lab export --lab nat > my.yaml\n  uvs lab apply my.yaml --dry-run\n  uvs lab apply nat --rs 3",
		Args:    func(_ *cobra.Command, args []string) error { return oneTopology(args) },
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := f.topology(cmd, args[0])
			if err != nil {
				return err
			}
			if *name == "" {
				*name = newestOf(t.Name)
			}
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			return applyTopology(cmd, l, &t, dry, asJSON)
		},
	}
	name = labFlag(cmd)
	f.add(cmd)
	cmd.Flags().BoolVarP(&dry, "dry-run", "n", false, "print the plan, change nothing")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the plan as JSON")
	return cmd
}

// newestOf returns the name of the newest lab made of a topology, or nothing.
func newestOf(topology string) (name string) {
	infos, _ := lab.List()
	for _, in := range infos {
		if in.Topology.Name == topology && !in.Topology.ByName {
			name = in.Name
		}
	}
	return name
}

// applied is what apply prints as JSON.
type applied struct {
	Lab     string       `json:"lab"`
	Changes []lab.Change `json:"changes"`
	Applied bool         `json:"applied"`
	Notes   []string     `json:"notes,omitempty"` // what could not be undone
	Error   string       `json:"error,omitempty"`
}

// applyTopology prints what is to change in a lab, and changes it.
func applyTopology(cmd *cobra.Command, l *lab.Lab, to *lab.Topology, dry, asJSON bool) error {
	out := cmd.OutOrStdout()
	in, err := l.Info()
	if err != nil {
		return err
	}
	a := applied{Lab: l.Name, Changes: in.Plan(to)}
	if !asJSON {
		if err := printPlan(out, &a, to.Name); err != nil {
			return err
		}
	}
	began := time.Now()
	switch {
	case !lab.Possible(a.Changes):
		err = errors.New("lab apply: nothing was changed: what is marked with ! cannot be changed in a running lab")
	case dry:
	default:
		a.Notes, err = l.Apply(*to)
		a.Applied = err == nil
	}
	if asJSON {
		if err != nil {
			a.Error = err.Error()
		}
		return errors.Join(json.NewEncoder(out).Encode(a), err)
	}
	for _, note := range a.Notes {
		fmt.Fprintln(out, "note:", note)
	}
	switch {
	case err != nil:
		return err
	case dry && len(a.Changes) > 0:
		fmt.Fprintln(out, "nothing was changed: --dry-run")
	case len(a.Changes) > 0:
		fmt.Fprintf(out, "done in %.2f s\n", time.Since(began).Seconds())
	}
	return nil
}

func printPlan(w io.Writer, a *applied, topology string) error {
	if len(a.Changes) == 0 {
		_, err := fmt.Fprintf(w, "lab %s is as %s says: nothing is to change\n", a.Lab, topology)
		return err
	}
	fmt.Fprintf(w, "plan for lab %s:\n", a.Lab)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, c := range a.Changes {
		fmt.Fprintf(t, "  %s %s\t%s\n", c.Sign, c.What, c.Text)
	}
	return t.Flush()
}

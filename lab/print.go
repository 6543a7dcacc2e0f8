package lab

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Print writes the lab as a table of its nodes, and the commands that were
// run, or that are left to the user, to make it a virtual server.
func (in *Info) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s\n\n", in.Topology.Title)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tADDRESSES\tGATEWAY\tSERVICES")
	for i := range in.Topology.Nodes {
		n := &in.Topology.Nodes[i]
		gw := "-"
		if n.Gateway.IsValid() {
			gw = n.Gateway.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.addresses(), gw, in.services(n.Name))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	in.printSetup(w)
	_, err := fmt.Fprintf(w, "\nVIP %s. Try:  uvs lab exec client -- curl -s %[1]s     uvs lab shell director     uvs lab down\n", in.Topology.VIP)
	return err
}

func (in *Info) printSetup(w io.Writer) {
	first := true
	for i := range in.Topology.Nodes {
		n := &in.Topology.Nodes[i]
		for _, c := range n.Setup {
			if first {
				fmt.Fprintln(w)
				first = false
			}
			fmt.Fprintf(w, "%s# %s\n", n.Name, c)
		}
	}
}

// addresses lists a node's addresses, with the interface where there are more.
func (n *Node) addresses() string {
	var all []string
	for i, iface := range n.Interfaces {
		for _, a := range iface.Addresses {
			name := ethName(i)
			if a.Label != "" {
				name = a.Label
			}
			all = append(all, name+" "+a.Prefix.String())
		}
	}
	return strings.Join(all, ", ")
}

func (in *Info) services(node string) string {
	var all []string
	for _, s := range in.Services {
		if s.Node != node {
			continue
		}
		text := strings.Join(s.Command, " ")
		if !s.Running {
			text += " (dead)"
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, "; ")
}

// String returns the command as it would be typed.
func (c Command) String() string { return strings.Join(c, " ") }

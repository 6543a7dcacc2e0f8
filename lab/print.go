package lab

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Print writes the lab as a table of its nodes, and the commands that make it a virtual
// server, which were run or are left to the user.
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
	return nil
}

// Impaired reports whether a link of the lab is not perfect, or its cable pulled.
func (in *Info) Impaired() bool {
	return slices.ContainsFunc(in.Links, func(l LinkStatus) bool { return l.Path == WirePath || l.Down })
}

// Next suggests commands for a lab that stays up.
func (in *Info) Next() string {
	return fmt.Sprintf("try:  uvs lab exec client -- curl -s %s     uvs lab shell director     uvs lab down",
		in.Topology.VIP)
}

// printSetup writes the commands as a user would type them. All real servers have the
// same ones.
func (in *Info) printSetup(w io.Writer) {
	var real []string
	for _, n := range in.Topology.RealServers() {
		real = append(real, n.Name)
	}
	fmt.Fprintln(w)
	if in.Topology.Bare {
		fmt.Fprint(w, "Left for you to type:\n\n")
	}
	for i := range in.Topology.Nodes {
		n := &in.Topology.Nodes[i]
		at := n.Name
		if n.Role == Real {
			if n.Name != real[0] {
				continue
			}
			at = strings.Join(real, ",")
		}
		for _, c := range n.steps() {
			fmt.Fprintf(w, "%s# %s\n", at, c)
		}
	}
}

// steps returns the commands that make the node part of the virtual server, those of
// services with a "&".
func (n *Node) steps() []string {
	var all []string
	for _, c := range n.Setup {
		all = append(all, c.String())
	}
	for _, s := range n.Services {
		if s.Setup {
			all = append(all, s.Command.String()+" &")
		}
	}
	return all
}

// addresses lists a node's addresses, each with its interface.
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
		text := s.Name
		if !s.Running {
			text += " (dead)"
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}

// String returns the command as it would be typed.
func (c Command) String() string { return strings.Join(c, " ") }

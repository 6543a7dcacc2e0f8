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
	if in.Topology.Title != "" {
		fmt.Fprintf(w, "%s\n\n", in.Topology.Title)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NODE\tROLE\tADDRESSES\tGATEWAY\tSERVICES")
	for i := range in.Topology.Nodes {
		n := &in.Topology.Nodes[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.Role, n.addresses(), n.gateways(), in.services(n.Name))
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
	text := "try:"
	if c := in.Topology.Client(); c != nil && in.Topology.VIP.IsValid() {
		where := strings.TrimPrefix(in.Topology.URL(""), "http://")
		if in.Topology.VIP.Is6() && !strings.Contains(where, "]:") {
			where = in.Topology.VIP.String()
		}
		text += fmt.Sprintf("  uvs lab exec %s -- curl -s %s   ", c.Name, where)
	}
	if d := in.Topology.Director(); d != nil {
		text += fmt.Sprintf("  uvs lab shell %s   ", d.Name)
	}
	return text + "  uvs lab down"
}

// printSetup writes the commands as a user would type them. Those that several real servers
// have in common are written once.
func (in *Info) printSetup(w io.Writer) {
	fmt.Fprintln(w)
	if in.Topology.Bare {
		fmt.Fprint(w, "Left for you to type:\n\n")
	}
	done := map[string]bool{}
	for i := range in.Topology.Nodes {
		n := &in.Topology.Nodes[i]
		if done[n.Name] {
			continue
		}
		at := []string{n.Name}
		for _, o := range in.Topology.RealServers() {
			if n.Role == Real && o.Name != n.Name && !done[o.Name] && slices.Equal(o.steps(), n.steps()) {
				at = append(at, o.Name)
				done[o.Name] = true
			}
		}
		for _, c := range n.steps() {
			fmt.Fprintf(w, "%s# %s\n", strings.Join(at, ","), c)
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

// gateways lists a node's gateway and its other routes.
func (n *Node) gateways() string {
	var all []string
	if n.Gateway.IsValid() {
		all = append(all, n.Gateway.String())
	}
	for _, r := range n.Routes {
		all = append(all, r.String())
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}

// String returns the route in the words of ip(8).
func (r Route) String() string {
	text := r.To.String()
	if r.To.Bits() == 0 {
		text = "default"
		if r.To.Addr().Is6() && !r.Via.IsValid() {
			text = r.To.String()
		}
	}
	if r.Via.IsValid() {
		text += " via " + r.Via.String()
	}
	if r.Link != "" {
		text += " dev " + r.Link
	}
	return text
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

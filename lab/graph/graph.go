// Package graph draws a topology: as a picture (svg), in the languages of Mermaid and
// Graphviz, in characters, as the plain commands that it is made of (sh), and as a file for
// containerlab (clab). No lab needs to run.
package graph

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"uvs/lab"
)

// formats are the formats by name.
var formats = map[string]func(*lab.Topology) (string, error){
	"ascii":   ascii,
	"clab":    clab,
	"dot":     dot,
	"mermaid": mermaid,
	"sh":      shell,
	"svg":     svg,
}

// Formats returns the names of the formats in order.
func Formats() []string {
	var names []string
	for n := range formats {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Write draws a topology in a format, one of [Formats].
func Write(w io.Writer, t *lab.Topology, format string) error {
	draw, ok := formats[format]
	if !ok {
		return fmt.Errorf("graph: no format %q, there are %s", format, strings.Join(Formats(), ", "))
	}
	text, err := draw(t)
	if err != nil {
		return fmt.Errorf("graph: %w", err)
	}
	_, err = io.WriteString(w, text)
	return err
}

func ascii(t *lab.Topology) (string, error) { return t.Draw(), nil }

// end is an interface on a network: the indexes of its node and its own.
type end struct{ node, iface int }

// ends returns the interfaces on a network.
func ends(t *lab.Topology, network string) (all []end) {
	for n := range t.Nodes {
		for i := range t.Nodes[n].Interfaces {
			if t.Nodes[n].Interfaces[i].Network == network {
				all = append(all, end{n, i})
			}
		}
	}
	return all
}

// facts are the lines that a drawing shows below the name of a node.
func facts(t *lab.Topology, n *lab.Node) (lines []string) {
	for i, iface := range n.Interfaces {
		for _, a := range iface.Addresses {
			text := lab.InterfaceName(i) + " " + a.Prefix.String()
			if t.IsVIP(a.Prefix.Addr()) {
				text += " VIP"
			}
			lines = append(lines, text)
		}
	}
	lines = append(lines, onLoopback(n)...)
	if n.Gateway.IsValid() {
		lines = append(lines, "gateway "+n.Gateway.String())
	}
	return lines
}

// onLoopback returns what the node's set-up puts on its loopback interface: virtual addresses,
// of which the client need know nothing.
func onLoopback(n *lab.Node) (lines []string) {
	for _, c := range n.Setup {
		if len(c) == 6 && c[0] == "ip" && c[1] == "addr" && c[5] == "lo" {
			lines = append(lines, "lo "+c[3]+" VIP")
		}
		if len(c) == 7 && c[0] == "ip" && c[3] == "local" && c[6] == "lo" {
			lines = append(lines, "lo "+c[4]+" local")
		}
	}
	return lines
}

// label is what a drawing writes at an interface.
func label(t *lab.Topology, e end) string {
	text := lab.InterfaceName(e.iface)
	if s := t.Nodes[e.node].Interfaces[e.iface].Impair.String(); s != "" {
		text += " " + s
	}
	return text
}

// impaired reports whether an interface has an impairment.
func impaired(t *lab.Topology, e end) bool {
	return t.Nodes[e.node].Interfaces[e.iface].Impair.String() != ""
}

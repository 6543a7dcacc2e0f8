package graph

import (
	"fmt"
	"strings"

	"uvs/lab"
)

// dot draws a graph for Graphviz.
func dot(t *lab.Topology) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "graph %s {\n  rankdir=LR;\n  label=%s;\n  node [shape=box, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n",
		dotText(t.Name), dotText(t.Title))
	for i := range t.Nodes {
		n := &t.Nodes[i]
		fmt.Fprintf(&b, "  node%d [label=%s];\n", i+1, dotText(strings.Join(append([]string{n.Name}, facts(t, n)...), "\n")))
	}
	for i := range t.Networks {
		fmt.Fprintf(&b, "  net%d [shape=ellipse, label=%s];\n", i+1, dotText(t.Networks[i].Name))
		for _, e := range ends(t, t.Networks[i].Name) {
			style := ""
			if impaired(t, e) {
				style = ", style=dashed"
			}
			fmt.Fprintf(&b, "  node%d -- net%d [label=%s%s];\n", e.node+1, i+1, dotText(label(t, e)), style)
		}
	}
	for _, w := range t.Ways() {
		if !w.Returns { // the director does not see the answer
			fmt.Fprintf(&b, "  node%d -- node%d [label=\"answer\", dir=forward, style=dotted, constraint=false];\n",
				index(t, w.Answer[0])+1, index(t, w.Answer[1])+1)
		}
	}
	b.WriteString("}\n")
	return b.String(), nil
}

// index returns the number of the node called name.
func index(t *lab.Topology, name string) int {
	for i := range t.Nodes {
		if t.Nodes[i].Name == name {
			return i
		}
	}
	return -1
}

// dotText quotes a text for DOT, where a backslash begins an escape.
func dotText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

package graph

import (
	"fmt"
	"strings"

	"uvs/lab"
)

// mermaid draws a flowchart for Mermaid.
func mermaid(t *lab.Topology) (string, error) {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	ids := map[string]string{}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		ids[n.Name] = fmt.Sprintf("node%d", i+1)
		lines := append([]string{n.Name}, facts(t, n)...)
		for k := range lines {
			lines[k] = mermaidText(lines[k])
		}
		fmt.Fprintf(&b, "  %s[\"%s\"]\n", ids[n.Name], strings.Join(lines, "<br/>"))
	}
	for i := range t.Networks {
		id := fmt.Sprintf("net%d", i+1)
		fmt.Fprintf(&b, "  %s((\"%s\"))\n", id, mermaidText(t.Networks[i].Name))
		for _, e := range ends(t, t.Networks[i].Name) {
			line := "  %s -- \"%s\" --- %s\n"
			if impaired(t, e) {
				line = "  %s -. \"%s\" .- %s\n"
			}
			fmt.Fprintf(&b, line, ids[t.Nodes[e.node].Name], mermaidText(label(t, e)), id)
		}
	}
	for _, w := range t.Ways() {
		if !w.Returns { // the director does not see the answer
			fmt.Fprintf(&b, "  %s -. \"answer\" .-> %s\n", ids[w.Answer[0]], ids[w.Answer[1]])
		}
	}
	return b.String(), nil
}

// mermaidText writes what has a meaning in a quoted text of Mermaid as an entity code.
var mermaidEscapes = strings.NewReplacer("#", "#35;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "&", "#amp;", "\n", " ", "`", "#96;")

func mermaidText(s string) string { return mermaidEscapes.Replace(s) }

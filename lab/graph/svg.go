package graph

import (
	"encoding/xml"
	"fmt"
	"strings"

	"uvs/lab"
)

// Measures of a picture, in pixels.
const (
	margin    = 24
	nodeWidth = 210
	gap       = 130 // between a column of nodes and the next, with the networks in it
	lineStep  = 16
	rowGap    = 26
	busWidth  = 10
)

// svg draws a picture: nodes in columns, by how far they are from the client, and between
// the columns the networks as bars.
func svg(t *lab.Topology) (string, error) {
	p := layOut(t)
	var b strings.Builder
	ways := t.Ways()
	width, height := p.width+2*margin, p.height+2*margin+lineStep*(2*len(ways)+2)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", xmlText(t.Name+": "+t.Title))
	b.WriteString(`<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse">` +
		`<path d="M0 0 8 4 0 8z" fill="context-stroke"/></marker></defs>` + "\n")
	b.WriteString(`<rect width="100%" height="100%" fill="#fff"/>` + "\n")
	for i := range t.Networks {
		p.drawLinks(&b, i)
	}
	for i, w := range ways {
		p.drawWay(&b, w.Request, i, false)
		p.drawWay(&b, w.Answer, i, true)
	}
	for i := range t.Networks {
		p.drawBus(&b, i)
	}
	for i := range t.Nodes {
		p.drawNode(&b, i)
	}
	p.drawLegend(&b, ways)
	b.WriteString("</svg>\n")
	return b.String(), nil
}

func (p *picture) drawNode(b *strings.Builder, i int) {
	n, box := &p.t.Nodes[i], p.nodes[i]
	fill := map[lab.Role]string{lab.Client: "#eef4ff", lab.Director: "#fff3d6", lab.Real: "#eaf7ea"}[n.Role]
	if fill == "" {
		fill = "#f3f3f3"
	}
	fmt.Fprintf(b, `<g><rect x="%d" y="%d" width="%d" height="%d" rx="6" fill="%s" stroke="#444"/>`, box.x, box.y, nodeWidth, box.height, fill)
	fmt.Fprintf(b, `<text x="%d" y="%d" font-weight="bold">%s</text>`, box.x+10, box.y+lineStep+2, xmlText(n.Name))
	for k, line := range facts(p.t, n) {
		fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`, box.x+10, box.y+lineStep*(k+2)+2, xmlText(line))
	}
	b.WriteString("</g>\n")
}

func (p *picture) drawBus(b *strings.Builder, i int) {
	bus := p.buses[i]
	fmt.Fprintf(b, `<g><rect x="%d" y="%d" width="%d" height="%d" rx="4" fill="#5b6b7b"/>`, bus.x, bus.y, busWidth, bus.height)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle" fill="#333" font-style="italic">%s</text></g>`+"\n",
		bus.x+busWidth/2, bus.y-6, xmlText(p.t.Networks[i].Name))
}

// drawLinks draws the links of a network, those with an impairment dashed, with its values.
func (p *picture) drawLinks(b *strings.Builder, i int) {
	for _, e := range ends(p.t, p.t.Networks[i].Name) {
		from, to := p.port(e.node, i)
		dash := ""
		if impaired(p.t, e) {
			dash = ` stroke-dasharray="6 4"`
		}
		fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#5b6b7b" stroke-width="2"%s/>`, from.x, from.y, to.x, to.y, dash)
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle" font-size="10" fill="#333">%s</text>`+"\n",
			(from.x+to.x)/2, (from.y+to.y)/2-7, xmlText(label(p.t, e)))
	}
}

// colours of the ways of requests and answers, by forwarding method.
var colours = []string{"#1565c0", "#c62828", "#6a1b9a", "#ef6c00"}

// drawWay draws the way of a request, or that of its answer, which is dashed.
func (p *picture) drawWay(b *strings.Builder, way []string, method int, answer bool) {
	aside, dash, name := -4-3*method, "", "request"
	if answer {
		aside, dash, name = 4+3*method, ` stroke-dasharray="5 3"`, "answer"
	}
	var points []string
	for i := range way[1:] {
		a, z := index(p.t, way[i]), index(p.t, way[i+1])
		net := shared(p.t, a, z)
		if a < 0 || z < 0 || net < 0 {
			return
		}
		from, on := p.port(a, net)
		to, off := p.port(z, net)
		for _, at := range []point{from, on, off, to} {
			points = append(points, fmt.Sprintf("%d,%d", at.x, at.y+aside))
		}
	}
	fmt.Fprintf(b, `<polyline class="%s" points="%s" fill="none" stroke="%s" stroke-width="1.5" stroke-opacity="0.8" marker-end="url(#head)"%s/>`+"\n",
		name, strings.Join(points, " "), colours[method%len(colours)], dash)
}

func (p *picture) drawLegend(b *strings.Builder, ways []lab.Way) {
	y := p.height + margin + 2*lineStep
	for i, w := range ways {
		for k, line := range []string{
			"request: " + strings.Join(w.Request, " → ") + ", " + w.How,
			"answer (dashed): " + strings.Join(w.Answer, " → ") + ", " + w.Back,
		} {
			fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", margin, y+(2*i+k)*lineStep, colours[i%len(colours)], xmlText(line))
		}
	}
}

// xmlText escapes a text for XML.
func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}

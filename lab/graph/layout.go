package graph

import (
	"cmp"
	"slices"

	"uvs/lab"
)

type point struct{ x, y int }

// box is the place of a node or of a network.
type box struct{ x, y, height, column int }

func (b box) middle() int { return b.y + b.height/2 }

// picture is where everything is.
type picture struct {
	t             *lab.Topology
	nodes, buses  []box
	width, height int
}

// layOut gives nodes and networks their places. Columns alternate: nodes, then the networks
// that join them to the next, so that a link never passes a column.
func layOut(t *lab.Topology) *picture {
	p := &picture{t: t, nodes: make([]box, len(t.Nodes)), buses: make([]box, len(t.Networks))}
	p.columns()
	rows := map[int][]int{} // nodes by column
	for i := range p.nodes {
		p.nodes[i].height = lineStep*(1+len(facts(t, &t.Nodes[i]))) + 12
		rows[p.nodes[i].column] = append(rows[p.nodes[i].column], i)
	}
	for c, column := range rows {
		slices.SortStableFunc(column, func(a, b int) int { return cmp.Compare(p.nearest(a), p.nearest(b)) })
		height := -rowGap
		for _, n := range column {
			height += p.nodes[n].height + rowGap
		}
		p.height = max(p.height, height)
		p.width = max(p.width, c/2*(nodeWidth+gap)+nodeWidth)
	}
	p.height += lineStep // for the name of a network
	for c, column := range rows {
		p.stack(c, column)
	}
	for i := range p.buses {
		p.span(i)
	}
	return p
}

// columns finds the columns: even ones for nodes, odd ones for networks, by the distance from
// the first node; what is not joined to it begins again on the left.
func (p *picture) columns() {
	for i := range p.nodes {
		p.nodes[i].column = -1
	}
	for i := range p.buses {
		p.buses[i].column = -1
	}
	for first := range p.nodes {
		if p.nodes[first].column >= 0 {
			continue
		}
		p.nodes[first].column = 0
		for queue := []int{first}; len(queue) > 0; queue = queue[1:] {
			from := p.nodes[queue[0]].column
			for _, i := range p.t.Nodes[queue[0]].Interfaces {
				net := slices.IndexFunc(p.t.Networks, func(n lab.Network) bool { return n.Name == i.Network })
				if net < 0 || p.buses[net].column >= 0 {
					continue
				}
				p.buses[net].column = from + 1
				for _, e := range ends(p.t, i.Network) {
					if p.nodes[e.node].column < 0 {
						p.nodes[e.node].column = from + 2
						queue = append(queue, e.node)
					}
				}
			}
		}
	}
}

// nearest returns the first network that joins a node to the column before, so that nodes of
// one network are together.
func (p *picture) nearest(node int) int {
	for i := range p.buses {
		if p.buses[i].column == p.nodes[node].column-1 && slices.ContainsFunc(ends(p.t, p.t.Networks[i].Name), func(e end) bool { return e.node == node }) {
			return i
		}
	}
	return -1
}

// stack places the nodes of a column below each other, around the middle.
func (p *picture) stack(column int, nodes []int) {
	height := -rowGap
	for _, n := range nodes {
		height += p.nodes[n].height + rowGap
	}
	y := margin + lineStep + (p.height-lineStep-height)/2
	for _, n := range nodes {
		p.nodes[n].x, p.nodes[n].y = margin+column/2*(nodeWidth+gap), y
		y += p.nodes[n].height + rowGap
	}
}

// span places a network: beside its nodes of the next column, as long as they need.
func (p *picture) span(i int) {
	bus := &p.buses[i]
	top, bottom := -1, -1
	for _, e := range ends(p.t, p.t.Networks[i].Name) {
		n := p.nodes[e.node]
		if n.column != bus.column+1 && len(ends(p.t, p.t.Networks[i].Name)) > 1 {
			continue
		}
		if top < 0 || n.y < top {
			top = n.y
		}
		bottom = max(bottom, n.y+n.height)
	}
	bus.x = margin + max(bus.column, 1)/2*(nodeWidth+gap) + nodeWidth + gap/2 - busWidth/2
	bus.y, bus.height = max(top, margin), max(bottom-top, 2*lineStep)
}

// port returns where a node's link leaves it, and where it meets a network.
func (p *picture) port(node, network int) (from, to point) {
	n, bus := p.nodes[node], p.buses[network]
	from = point{n.x + nodeWidth, n.middle()}
	to = point{bus.x, min(max(n.middle(), bus.y+8), bus.y+bus.height-8)}
	if n.column > bus.column {
		from.x = n.x
		to.x += busWidth
	}
	return from, to
}

// shared returns a network on which two nodes are, -1 if there is none.
func shared(t *lab.Topology, a, b int) int {
	on := func(node int, network string) bool {
		return node >= 0 && slices.ContainsFunc(t.Nodes[node].Interfaces, func(i lab.Interface) bool { return i.Network == network })
	}
	return slices.IndexFunc(t.Networks, func(n lab.Network) bool { return on(a, n.Name) && on(b, n.Name) })
}

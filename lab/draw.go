package lab

import (
	"fmt"
	"slices"
	"strings"

	"uvs/sched"
)

// Draw returns a picture of the topology: each network with the nodes on it, and the way
// of a request and of its answer by each forwarding method in use.
func (t *Topology) Draw() string {
	var b strings.Builder
	for i := range t.Networks {
		t.drawNetwork(&b, t.Networks[i].Name)
	}
	for _, w := range t.Ways() {
		fmt.Fprintf(&b, "request  %s  %s\nanswer   %s  %s\n", strings.Join(w.Request, " → "), w.How, strings.Join(w.Answer, " → "), w.Back)
	}
	return b.String()
}

// drawNetwork draws the nodes on a network below its name.
func (t *Topology) drawNetwork(b *strings.Builder, network string) {
	var lines []string
	for i := range t.Nodes {
		n := &t.Nodes[i]
		for at, iface := range n.Interfaces {
			if iface.Network != network {
				continue
			}
			var all []string
			for _, a := range iface.Addresses {
				text := a.Prefix.String()
				if n.Role == Director && t.IsVIP(a.Prefix.Addr()) {
					text = "VIP " + text
				}
				all = append(all, text)
			}
			line := fmt.Sprintf("%-9s %s  %s", n.Name, ethName(at), strings.Join(all, ", "))
			if s := iface.Impair.String(); s != "" {
				line += "  (" + s + ")"
			}
			lines = append(lines, line)
		}
	}
	fmt.Fprintln(b, network)
	for i, line := range lines {
		branch := "├─ "
		if i == len(lines)-1 {
			branch = "└─ "
		}
		fmt.Fprintln(b, branch+line)
	}
}

// replies are the forwarding methods, and how they reach a server and are answered.
var replies = []struct {
	method    sched.Method
	how, back string
}{
	{sched.Masq, "to the server's address", "from the VIP again"},
	{sched.Route, "in a frame to the server's MAC address", "from the VIP"},
	{sched.Tunnel, "in a tunnel to the server", "from the VIP"},
	{sched.FullNAT, "from a local address to the server's", "from the VIP again"},
}

// Way is how a request reaches a real server by one forwarding method, and how the answer
// comes back.
type Way struct {
	Request, Answer []string // names of the nodes, in order
	How, Back       string   // in words: how the director sends the request, and as whose the client sees the answer
	Returns         bool     // the answer passes the director
}

// Ways returns the ways by each forwarding method that the director's set-up uses, as an
// example those of its first server.
func (t *Topology) Ways() (all []Way) {
	client, director := t.byRole(Client), t.byRole(Director)
	if client == nil || director == nil {
		return nil
	}
	methods, servers := t.Methods(), t.RealServers()
	for _, m := range replies {
		at := slices.IndexFunc(servers, func(n *Node) bool {
			by, known := methods[n.Name]
			return known && by == m.method
		})
		if at < 0 {
			continue
		}
		server := servers[at]
		request := append(t.path(client, director), t.path(director, server)[1:]...)
		back := t.path(server, client)
		if m.method.Translates() {
			back = append(t.path(server, director), t.path(director, client)[1:]...)
		}
		all = append(all, Way{request, back, m.how, m.back, m.method.Translates()})
	}
	return all
}

func (t *Topology) byRole(r Role) *Node {
	i := slices.IndexFunc(t.Nodes, func(n Node) bool { return n.Role == r })
	if i < 0 {
		return nil
	}
	return &t.Nodes[i]
}

// path returns the names of the nodes from one to another, through as few routers as there
// can be; the two alone if no way is known.
func (t *Topology) path(from, to *Node) []string {
	ways := [][]*Node{{from}}
	for seen := map[*Node]bool{from: true}; len(ways) > 0; ways = ways[1:] {
		way := ways[0]
		last := way[len(way)-1]
		for i := range t.Nodes {
			n := &t.Nodes[i]
			if seen[n] || !last.meets(n) || n != to && n.Role != Router {
				continue
			}
			seen[n] = true
			next := append(slices.Clip(way), n)
			if n == to {
				return names(next)
			}
			ways = append(ways, next)
		}
	}
	return names([]*Node{from, to})
}

// meets reports whether two nodes are on one network.
func (n *Node) meets(o *Node) bool {
	return slices.ContainsFunc(n.Interfaces, func(a Interface) bool {
		return slices.ContainsFunc(o.Interfaces, func(b Interface) bool { return a.Network == b.Network })
	})
}

func names(nodes []*Node) (all []string) {
	for _, n := range nodes {
		all = append(all, n.Name)
	}
	return all
}

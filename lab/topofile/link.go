package topofile

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"uvs/lab"
	"uvs/lab/wire"
)

// readLinks reads the networks and who is on them.
func (r *reader) readLinks(value *yaml.Node) {
	for key, body := range r.entries(value, "links", "a list of networks, such as  - lan: [client:eth0, director:eth0, rs1:eth0]") {
		n := lab.Network{Name: key.Value, MTU: r.mtu, NoOffload: r.plain}
		if n.MTU == 0 {
			n.MTU = usualMTU
		}
		if !lab.IsNetworkName(key.Value) {
			r.wrong(key, "network name %q: expected up to 15 small letters, digits and hyphens", key.Value)
		}
		ends := body
		if body.Kind == yaml.MappingNode {
			ends = r.readNetwork(&n, key, body)
		}
		for _, end := range list(ends) {
			r.readEnd(n.Name, end)
		}
		r.topology.Networks = append(r.topology.Networks, n)
	}
	for _, n := range r.order {
		for i := range n.interfaces {
			if p := &n.interfaces[i]; !p.linked && len(r.mistakes) == 0 {
				r.wrong(p.at, "eth%d of %s is on no network: expected %s:eth%d in links", p.number, n.Name, n.Name, p.number)
			}
		}
	}
}

// usualMTU is that of networks of which nothing is said, in bytes.
const usualMTU = 1500

// readNetwork reads a network about which the file says more than who is on it, and returns that.
func (r *reader) readNetwork(n *lab.Network, at, body *yaml.Node) *yaml.Node {
	var ends *yaml.Node
	for key, value := range r.entries(body, "network "+n.Name, "ends") {
		switch key.Value {
		case "ends":
			ends = value
		case "mtu":
			n.MTU = r.mtuOf(value)
		case "offload":
			n.NoOffload = !r.boolean(value, "offload")
		default:
			r.unknown(key, "network "+n.Name, linkWords)
		}
	}
	if ends == nil {
		r.wrong(at, "network %s has no ends: expected  ends: [client:eth0, director:eth0]", n.Name)
		return &yaml.Node{Kind: yaml.SequenceNode}
	}
	return ends
}

// readEnd reads one end of a link: NODE:eth0, NODE where that has one interface, or a mapping
// with it as "to" and what the link does to frames.
func (r *reader) readEnd(network string, end *yaml.Node) {
	where := end
	var impair wire.Impairment
	if end.Kind == yaml.MappingNode {
		if where, impair = r.impaired(network, end); where == nil {
			return
		}
	}
	n, p := r.portOf(where, network)
	if p == nil {
		return
	}
	if p.linked {
		r.wrong(where, "eth%d of %s is on %s already: an interface is on one network", p.number, n.Name, n.Interfaces[p.number].Network)
		return
	}
	p.linked = true
	for len(n.Interfaces) <= p.number {
		n.Interfaces = append(n.Interfaces, lab.Interface{})
	}
	n.Interfaces[p.number].Network, n.Interfaces[p.number].Impair = network, impair
}

// impaired reads an end about which more is said, and returns where it is; nil, with the mistake
// noted, if it does not say that.
func (r *reader) impaired(network string, end *yaml.Node) (where *yaml.Node, impair wire.Impairment) {
	of := "an end of " + network
	for key, value := range r.entries(end, of, "to") {
		switch {
		case key.Value == "to":
			where = value
		case key.Value == "down":
			impair.Down = r.boolean(value, of+": down")
		case slices.Contains(wire.Names(), key.Value):
			to, err := impair.Merge(key.Value + "=" + r.text(value, of+": "+key.Value, "a value, such as 20ms or 1%"))
			if err != nil {
				r.wrong(value, "%s: %v", of, err)
			}
			impair = to
		default:
			r.unknown(key, of, endWords)
		}
	}
	if where == nil {
		r.wrong(end, "%s: expected  to: NODE:eth0", of)
	}
	return where, impair
}

// portOf returns the interface that an end names; nil, with the mistake noted, if there is none.
func (r *reader) portOf(where *yaml.Node, network string) (*node, *port) {
	text := r.text(where, "an end of "+network, "NODE:eth0")
	name, link, given := strings.Cut(text, ":")
	n := r.nodes[name]
	if n == nil {
		if text != "" {
			r.wrong(where, "%s: there is no node %q%s", network, name, r.namesNear(name))
		}
		return nil, nil
	}
	if !given {
		if len(n.interfaces) != 1 {
			r.wrong(where, "%s: %s has %d interfaces: expected which, such as %s:eth0", network, name, len(n.interfaces), name)
			return nil, nil
		}
		return n, &n.interfaces[0]
	}
	for i := range n.interfaces {
		if n.interfaces[i].at.Value == link {
			return n, &n.interfaces[i]
		}
	}
	r.wrong(where, "%s: node %s has no interface %q; expected one of its own, or another line in %s, such as  %s: 10.0.0.1/24", network, name, link, name, orElse(link, "eth0"))
	return nil, nil
}

func orElse(text, usual string) string {
	if !interfaceWord.MatchString(text) {
		return usual
	}
	return text
}

// namesNear suggests a node.
func (r *reader) namesNear(name string) string {
	var names []string
	for _, n := range r.order {
		names = append(names, n.Name)
	}
	return suggest(name, names)
}

package capture

import (
	"fmt"
	"slices"
	"strings"

	"uvs/lab"
)

// Link is an interface of a node, and so its end of a network.
type Link struct {
	Node      string `json:"node"`
	Interface string `json:"interface"` // eth0, eth1, …
	Network   string `json:"network"`
}

// String returns the link's name, NODE:ethN.
func (l Link) String() string { return l.Node + ":" + l.Interface }

// Links returns all links of a topology, in the order of its nodes.
func Links(t *lab.Topology) (all []Link) {
	for i := range t.Nodes {
		all = append(all, linksOf(&t.Nodes[i])...)
	}
	return all
}

func linksOf(n *lab.Node) (all []Link) {
	for i := range n.Interfaces {
		all = append(all, Link{n.Name, fmt.Sprintf("eth%d", i), n.Interfaces[i].Network})
	}
	return all
}

// Words splits the words of a command line. The first ones name links: NODE means all links
// of a node, NODE:ethN one of them; none means all. The others are the words of a filter.
// A first word that looks like a link and is none is an error.
func Words(t *lab.Topology, words []string) (links []Link, filter []string, err error) {
	for len(words) > 0 {
		name, iface, one := strings.Cut(words[0], ":")
		n := t.Node(name)
		if n == nil {
			break
		}
		of := linksOf(n)
		if one {
			of = slices.DeleteFunc(of, func(l Link) bool { return l.Interface != iface })
		}
		if len(of) == 0 {
			return nil, nil, fmt.Errorf("%q is no link; this lab has %s", words[0], names(Links(t)))
		}
		for _, l := range of {
			if !slices.Contains(links, l) {
				links = append(links, l)
			}
		}
		words = words[1:]
	}
	if links == nil {
		links = Links(t)
	}
	return links, words, nil
}

func names(links []Link) string {
	all := make([]string, len(links))
	for i, l := range links {
		all[i] = l.String()
	}
	return strings.Join(all, ", ")
}

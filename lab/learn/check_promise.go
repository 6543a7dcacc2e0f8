package learn

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"uvs/internal/lang"
	"uvs/lab"
)

// promise: a check that topologies have, too, holds.
func promise(c lab.Check, what lang.Text) Check {
	return Check{What: what, Look: func(s *Scene) *Miss {
		ctx, cancel := context.WithTimeout(context.Background(), askWithin)
		defer cancel()
		r := c.Run(ctx, s.Lab)
		if r.OK {
			return nil
		}
		return &Miss{Saw: r.Seen, Want: r.Expected}
	}}
}

// onlyAnswers: one node answers for an address by ARP, and nobody else.
func onlyAnswers(node, address string) Check {
	return promise(lab.Check{Kind: "arp", To: address, Expect: []string{node}},
		lang.Textf("only %s answers ARP for %s", "只有 %s 应答对 %s 的 ARP 请求", node, address))
}

// answersToo: a node answers for an address by ARP, whoever else does.
func answersToo(node, address string) Check {
	return Check{
		What: lang.Textf("%s answers ARP for %s", "%s 应答对 %s 的 ARP 请求", node, address),
		Look: func(s *Scene) *Miss {
			ctx, cancel := context.WithTimeout(context.Background(), askWithin)
			defer cancel()
			c := lab.Check{Kind: "arp", To: address, Expect: []string{node}}
			r := c.Run(ctx, s.Lab)
			if r.OK || slices.Contains(strings.FieldsFunc(r.Seen.EN, func(r rune) bool { return r == ' ' || r == ',' }), node) {
				return nil
			}
			return &Miss{Saw: r.Seen, Want: lang.Textf("an answer of %s", "%s 的应答", node)}
		},
	}
}

// neighbourOf answers which node has the MAC address that another knows for an address.
func neighbourOf(node, address string) func(*Scene) (string, error) {
	return func(s *Scene) (string, error) {
		out, err := s.output(node, "ip", "neigh", "show", "to", address)
		if err != nil {
			return "", err
		}
		f := strings.Fields(out)
		at := slices.Index(f, "lladdr")
		if at < 0 || at+1 >= len(f) {
			return "", fmt.Errorf("%s knows no MAC address of %s", node, address)
		}
		for i := range s.Lab.Topology.Nodes {
			name := s.Lab.Topology.Nodes[i].Name
			look, err := s.Lab.Look(name)
			if err != nil {
				return "", err
			}
			if slices.ContainsFunc(look.Links, func(l lab.Link) bool { return l.MAC == f[at+1] }) {
				return name, nil
			}
		}
		return "", fmt.Errorf("no node has the MAC address %s", f[at+1])
	}
}

package graph

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uvs/lab"
)

// services starts the services of all nodes, those that are late or the others, and waits
// until they answer.
func (s *script) services(late bool) {
	var waits []string
	for i := range s.t.Nodes {
		n := &s.t.Nodes[i]
		begun := false
		for _, v := range n.Services {
			if v.Late != late {
				continue
			}
			if !begun {
				s.part("services of " + n.Name)
				begun = true
			}
			line := fmt.Sprintf("ip netns exec %s %s </dev/null >/dev/null 2>&1 &", quote(n.Name), quoteAll(tool(v.Command)))
			if v.Setup && s.t.Bare {
				s.toType(line)
				continue
			}
			s.line("%s", line)
			if w := ready(n.Name, v.Ready); w != "" {
				waits = append(waits, w)
			}
		}
	}
	if len(waits) > 0 {
		s.part("They answer.")
	}
	for _, w := range waits {
		s.line("%s", w)
	}
}

// toType writes a command that is left to the user.
func (s *script) toType(line string) {
	s.line("# left for you to type: %s", strings.ReplaceAll(line, "\n", "\n# "))
}

// ready returns the command that waits until a service answers.
func ready(node, where string) string {
	kind, rest, _ := strings.Cut(where, ":")
	switch kind {
	case "tcp":
		port := rest
		if ap, err := netip.ParseAddrPort(rest); err == nil {
			port = fmt.Sprint(ap.Port())
		}
		return "ready sh -c " + quote(fmt.Sprintf("ip netns exec %s ss -Hltn 'sport = :%s' | grep -q .", node, port))
	case "unix":
		return fmt.Sprintf("ready ip netns exec %s grep -q %s /proc/net/unix", quote(node), quote(rest+"$"))
	case "alive":
		return "ready grep -qx 0 " + quote(rest)
	}
	return ""
}

// setUp makes the nodes a virtual server.
func (s *script) setUp() {
	for i := range s.t.Nodes {
		n := &s.t.Nodes[i]
		if len(n.Setup) == 0 {
			continue
		}
		s.part("set-up of " + n.Name)
		for _, c := range n.Setup {
			line := fmt.Sprintf("ip netns exec %s %s", quote(n.Name), quoteAll(tool(c)))
			if s.t.Bare {
				s.toType(line)
				continue
			}
			s.line("%s", line)
		}
	}
}

// verbs are the verbs of uvs that are, in a node of a lab, tools of other names.
var verbs = map[string][]string{
	"ipvsadm": {"ipvsadm"}, "sysctl": {"sysctl"}, "curl": {"get"}, "ping": {"ping"},
	"keepalived": {"shim", "--", "keepalived"}, "ldirectord": {"shim", "--", "ldirectord"},
}

// tool returns a command as it is typed where only uvs is in PATH.
func tool(c lab.Command) []string {
	if len(c) == 0 || verbs[c[0]] == nil {
		return c
	}
	return slices.Concat([]string{"uvs"}, verbs[c[0]], c[1:])
}

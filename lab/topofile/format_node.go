package topofile

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"uvs/lab"
)

func link(i int) string { return fmt.Sprintf("eth%d", i) }

func number(n int) *yaml.Node { return literal(strconv.Itoa(n)) }

// node writes a node, in the order of nodeWords.
func (w *writer) node(n *lab.Node) *yaml.Node {
	m := mapping()
	put(m, "role", word(roleWord(n.Role)))
	by, weight := w.modeOf(n)
	if by != nil {
		put(m, "mode", word(by.word))
		if weight != "" {
			put(m, "weight", literal(weight))
		}
	}
	putInterfaces(m, n)
	if n.Gateway.IsValid() {
		put(m, "gateway", word(n.Gateway.String()))
	}
	if len(n.Routes) > 0 {
		var routes []*yaml.Node
		for _, r := range n.Routes {
			routes = append(routes, word(r.String()))
		}
		put(m, "routes", sequence(true, routes...))
	}
	if n.Forward != (n.Role == lab.Router) {
		put(m, "forward", literal(strconv.FormatBool(n.Forward)))
	}
	w.putVIP(m, n)
	usual := w.putServices(m, n, by)
	w.putSetup(m, n, by)
	if usual != nil {
		put(m, "services", usual)
	}
	if len(n.Files) > 0 {
		files := mapping()
		for _, f := range n.Files {
			text := word(f.Text)
			text.Style = yaml.LiteralStyle
			put(files, f.Name, text)
		}
		put(m, "files", files)
	}
	return m
}

func roleWord(role lab.Role) string {
	for _, x := range roles {
		if x.role == role {
			return x.word
		}
	}
	return "host"
}

// putInterfaces writes the addresses of interfaces, and those with a label under that.
func putInterfaces(m *yaml.Node, n *lab.Node) {
	for i, iface := range n.Interfaces {
		var own []*yaml.Node
		var labels []string
		labelled := map[string][]*yaml.Node{}
		for _, a := range iface.Addresses {
			text := word(a.Prefix.String())
			if a.Label == "" {
				own = append(own, text)
				continue
			}
			if labelled[a.Label] == nil {
				labels = append(labels, a.Label)
			}
			labelled[a.Label] = append(labelled[a.Label], text)
		}
		put(m, link(i), some(own))
		for _, l := range labels {
			put(m, l, some(labelled[l]))
		}
	}
}

// putVIP writes the virtual addresses at the first director.
func (w *writer) putVIP(m *yaml.Node, n *lab.Node) {
	if n != w.t.Director() || !w.t.VIP.IsValid() {
		return
	}
	var vips []*yaml.Node
	for _, a := range w.t.VIPs() {
		vips = append(vips, word(a.String()))
	}
	put(m, "vip", some(vips))
}

// modeOf returns the mode of a real server and its weight, if its set-up is just what the mode
// stands for.
func (w *writer) modeOf(n *lab.Node) (*mode, string) {
	method, known := w.methods[n.Name]
	if !w.modes || !known || n.Role != lab.Real {
		return nil, ""
	}
	at := slices.IndexFunc(modes, func(m mode) bool { return m.method == method })
	if at < 0 {
		return nil, ""
	}
	m := &modes[at]
	need := m.setup(w.t.VIPs())
	if len(n.Setup) < len(need) || !slices.EqualFunc(n.Setup[:len(need)], need, slices.Equal) {
		return nil, ""
	}
	for _, s := range m.services() {
		if !slices.ContainsFunc(n.Services, func(o lab.Service) bool { return o.Name == s.Name }) {
			return nil, ""
		}
	}
	return m, w.weightOf(n)
}

// weightOf returns the weight that the director's commands give a real server, if they say one.
func (w *writer) weightOf(n *lab.Node) string {
	if !w.members {
		return ""
	}
	for _, c := range w.t.Director().Setup {
		server, weight := slices.Index(c, "-r"), slices.Index(c, "-w")
		if server < 0 || weight < 0 || max(server, weight)+1 >= len(c) {
			continue
		}
		if a, err := netip.ParseAddr(c[server+1]); err == nil && n.Has(a) {
			return c[weight+1]
		}
		if a, err := netip.ParseAddrPort(c[server+1]); err == nil && n.Has(a.Addr()) {
			return c[weight+1]
		}
	}
	return ""
}

// putSetup writes the commands of a node that its mode does not stand for.
func (w *writer) putSetup(m *yaml.Node, n *lab.Node, by *mode) {
	rest := n.Setup
	if by != nil {
		rest = rest[len(by.setup(w.t.VIPs())):]
	}
	own := rest
	if n.Role == lab.Director {
		at := len(rest)
		for at > 0 && isRule(rest[at-1]) {
			at--
		}
		own = rest[:at]
		if at < len(rest) {
			put(m, "ipvsadm", commands(w.short(rest[at:]), "ipvsadm "))
		}
	}
	if len(own) > 0 {
		put(m, "setup", commands(own, ""))
	}
}

// isRule reports whether a command can stand under ipvsadm.
func isRule(c lab.Command) bool {
	r, err := lab.IPVSRule(c)
	return err == nil && r != nil
}

// short leaves out the commands that add real servers by their mode, if they are all the others
// imply.
func (w *writer) short(all []lab.Command) []lab.Command {
	if !w.members {
		return all
	}
	var members []member
	for i := range w.t.Nodes {
		if m, weight := w.modeOf(&w.t.Nodes[i]); m != nil {
			members = append(members, member{nil, w.t.Nodes[i].Address(), m.method, weight})
		}
	}
	heads := slices.DeleteFunc(slices.Clone(all), func(c lab.Command) bool { return slices.Contains(c, "-a") })
	if slices.EqualFunc(complete(heads, members), all, slices.Equal) {
		return heads
	}
	return all
}

// putServices writes the page of the usual web server, and returns the services that are not as
// the other words have them.
func (w *writer) putServices(m *yaml.Node, n *lab.Node, by *mode) *yaml.Node {
	r := reader{topology: *w.t}
	usual := node{Node: *n}
	if at := slices.IndexFunc(n.Services, func(s lab.Service) bool { return s.Name == "http" }); at >= 0 {
		if text, ok := page(n.Services[at]); ok {
			put(m, "http", word(text))
			usual.http = text
		}
	}
	if by != nil {
		usual.mode = by.word
	}
	expected := r.usual(&usual)
	all := mapping()
	for _, s := range n.Services {
		at := slices.IndexFunc(expected, func(o lab.Service) bool { return o.Name == s.Name })
		if at < 0 {
			put(all, s.Name, written(s, lab.Service{}))
		} else if !slices.Equal(s.Command, expected[at].Command) || s.Ready != expected[at].Ready || s.Setup != expected[at].Setup || s.Late != expected[at].Late {
			put(all, s.Name, written(s, expected[at]))
		}
	}
	for _, s := range expected {
		if !slices.ContainsFunc(n.Services, func(o lab.Service) bool { return o.Name == s.Name }) {
			put(all, s.Name, literal("none"))
		}
	}
	if len(all.Content) == 0 {
		return nil
	}
	return all
}

// page returns the text of a web server if it is the usual one.
func page(s lab.Service) (string, bool) {
	if len(s.Command) < 4 {
		return "", false
	}
	text := s.Command[3]
	usual := lab.WebService(text)
	return text, text != "" && slices.Equal(usual.Command, s.Command) && usual.Ready == s.Ready && s.Setup == usual.Setup && s.Late == usual.Late
}

// written writes a service as far as it differs from the usual one of its name.
func written(s, usual lab.Service) *yaml.Node {
	m := mapping()
	if !slices.Equal(s.Command, usual.Command) {
		put(m, "run", typed(s.Command, ""))
	}
	if s.Ready != usual.Ready {
		put(m, "ready", word(s.Ready))
	}
	if s.Setup != usual.Setup {
		put(m, "setup", literal(strconv.FormatBool(s.Setup)))
	}
	if s.Late != usual.Late {
		put(m, "late", literal(strconv.FormatBool(s.Late)))
	}
	if len(m.Content) == 2 && m.Content[0].Value == "run" && m.Content[1].Kind == yaml.ScalarNode {
		return m.Content[1]
	}
	return m
}

package topofile

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"uvs/lab"
)

// roles are the words for roles.
var roles = []struct {
	word string
	role lab.Role
}{
	{"client", lab.Client}, {"director", lab.Director}, {"real", lab.Real}, {"router", lab.Router}, {"host", lab.Host},
}

// node is a node as the file has it, before the short words are written out.
type node struct {
	lab.Node
	key        *yaml.Node
	mode       string
	weight     string
	modeAt     *yaml.Node
	vips       []netip.Addr
	vipsAt     []*yaml.Node
	http       string
	ipvsadm    []lab.Command
	setup      []lab.Command
	services   []service
	interfaces []port
	aliases    []port // eth0:1
	forward    *bool
	gatewayAt  *yaml.Node
	routesAt   []*yaml.Node
}

// port is an interface of a node in the file.
type port struct {
	at        *yaml.Node
	number    int
	label     string
	addresses []lab.Address
	places    []*yaml.Node // of the addresses
	linked    bool
}

// service is one of a node's services, of which the file says only what is not usual.
type service struct {
	lab.Service
	none            bool // there is none of this name
	run, ready      bool // they are given
	setUp, lateSaid bool
}

var interfaceWord = regexp.MustCompile(`^eth(\d{1,2})(:\w{1,10})?$`)

func (r *reader) readNodes(value *yaml.Node) {
	for key, body := range r.entries(value, "nodes", "a mapping, with a name for each node, such as  rs1: {role: real, eth0: 10.0.0.11/24}") {
		n := &node{key: key, Node: lab.Node{Name: key.Value}}
		if !lab.IsNodeName(key.Value) {
			r.wrong(key, "node name %q: expected up to 32 small letters, digits and hyphens", key.Value)
		}
		r.readNode(n, body)
		r.nodes[key.Value] = n
		if r.order = append(r.order, n); len(r.order) == lab.MaxNodes+1 {
			r.wrong(key, "%s: a node too many: expected up to %d", n.Name, lab.MaxNodes)
		}
	}
}

func (r *reader) readNode(n *node, body *yaml.Node) {
	if isNull(body) {
		n.Role = lab.Host
		return
	}
	for key, value := range r.entries(body, n.Name, "words such as role and eth0") {
		if m := interfaceWord.FindStringSubmatch(key.Value); m != nil {
			r.readInterface(n, key, value, m)
			continue
		}
		read, known := nodeReaders[key.Value]
		if !known {
			r.unknown(key, "node "+n.Name, nodeWords)
			continue
		}
		read(r, n, value)
	}
	if n.Role == "" {
		n.Role = lab.Host
	}
	r.checkWords(n)
}

// nodeReaders read the words of a node.
var nodeReaders = map[string]func(*reader, *node, *yaml.Node){
	"role": (*reader).role,
	"mode": func(r *reader, n *node, v *yaml.Node) {
		n.mode, n.modeAt = r.text(v, n.Name+": mode", modeNames), v
		if modeOf(n.mode) == nil {
			r.wrong(v, "%s: unknown %s; expected %s", n.Name, said("mode", v), modeNames)
		}
	},
	"weight": func(r *reader, n *node, v *yaml.Node) {
		n.weight = strconv.Itoa(r.number(v, n.Name+": weight", 0, 65535))
	},
	"gateway": func(r *reader, n *node, v *yaml.Node) { n.Gateway, n.gatewayAt = r.addr(v, n.Name+": gateway"), v },
	"forward": func(r *reader, n *node, v *yaml.Node) {
		b := r.boolean(v, n.Name+": forward")
		n.forward = &b
	},
	"vip": (*reader).vip,
	"http": func(r *reader, n *node, v *yaml.Node) {
		n.http = r.text(v, n.Name+": http", "the text of the page, such as Web1")
	},
	"routes":   (*reader).routes,
	"ipvsadm":  (*reader).ipvsadm,
	"setup":    (*reader).setup,
	"services": (*reader).services,
	"files":    (*reader).files,
}

func (r *reader) role(n *node, v *yaml.Node) {
	var words []string
	for _, x := range roles {
		if x.word == v.Value {
			n.Role = x.role
			return
		}
		words = append(words, x.word)
	}
	r.wrong(v, "%s: unknown %s%s", n.Name, said("role", v), suggest(v.Value, words))
	n.Role = lab.Host
}

// checkWords looks for words that do not go with the node's role.
func (r *reader) checkWords(n *node) {
	if len(n.vips) > 0 && n.Role != lab.Director {
		r.wrong(n.vipsAt[0], "%s: vip is a word of a director; a real server gets the virtual address by mode: dr or mode: tun", n.Name)
	}
	if len(n.ipvsadm) > 0 && n.Role != lab.Director {
		r.wrong(n.key, "%s: ipvsadm is a word of a director: expected role: director", n.Name)
	}
	if n.mode != "" && n.Role != lab.Real {
		r.wrong(n.modeAt, "%s: mode is a word of a real server: expected role: real", n.Name)
	}
	if n.weight != "" && n.mode == "" {
		r.wrong(n.key, "%s: weight goes with mode: expected one of %s", n.Name, modeNames)
	}
}

func (r *reader) readInterface(n *node, key, value *yaml.Node, m []string) {
	number, _ := strconv.Atoi(m[1])
	p := port{at: key, number: number}
	if m[2] != "" {
		p.label = key.Value
	}
	for _, item := range list(value) {
		a, err := netip.ParsePrefix(item.Value)
		switch {
		case item.Kind != yaml.ScalarNode || err != nil:
			r.wrong(item, "%s: expected an address with the length of its network, such as 10.0.0.1/24", said(n.Name+": "+key.Value, item))
			continue
		case noHostIn(a) != "":
			r.wrong(item, "%s: %s is %s; expected an address that a host can have, such as 10.0.0.1/24", n.Name, a, noHostIn(a))
		}
		p.addresses = append(p.addresses, lab.Address{Prefix: a, Label: p.label})
		p.places = append(p.places, item)
	}
	if p.label == "" {
		n.interfaces = append(n.interfaces, p)
		return
	}
	if len(p.addresses) == 0 {
		r.wrong(value, "%s: %s is another name for an address of eth%d: expected the address", n.Name, p.label, number)
	}
	n.aliases = append(n.aliases, p)
}

func (r *reader) routes(n *node, value *yaml.Node) {
	for _, item := range list(value) {
		route, err := parseRoute(strings.Fields(r.text(item, n.Name+": routes", "a route, such as 10.1.0.0/16 via 10.0.0.1")))
		if err != nil {
			r.wrong(item, "%s: %v; expected it such as  10.1.0.0/16 via 10.0.0.1  or  10.1.0.0/16 dev eth1", said(n.Name+": route", item), err)
			continue
		}
		n.Routes, n.routesAt = append(n.Routes, route), append(n.routesAt, item)
	}
}

// parseRoute reads a route in the words of ip(8).
func parseRoute(words []string) (route lab.Route, err error) {
	if len(words) < 3 || len(words)%2 == 0 {
		return route, fmt.Errorf("no route")
	}
	for i := 1; i+1 < len(words); i += 2 {
		switch words[i] {
		case "via":
			if route.Via, err = netip.ParseAddr(words[i+1]); err != nil || route.Via.Zone() != "" {
				return route, fmt.Errorf("%q is no address", words[i+1])
			}
		case "dev":
			if m := interfaceWord.FindStringSubmatch(words[i+1]); m == nil || m[2] != "" {
				return route, fmt.Errorf("%q is no interface", words[i+1])
			}
			route.Link = words[i+1]
		default:
			return route, fmt.Errorf("unknown word %q", words[i])
		}
	}
	if words[0] == "default" {
		unspecified := netip.IPv4Unspecified()
		if route.Via.Is6() {
			unspecified = netip.IPv6Unspecified()
		}
		route.To = netip.PrefixFrom(unspecified, 0)
		return route, nil
	}
	if route.To, err = netip.ParsePrefix(words[0]); err != nil {
		a, addrErr := netip.ParseAddr(words[0])
		if addrErr != nil || a.Zone() != "" {
			return route, fmt.Errorf("%q is no network", words[0])
		}
		route.To = netip.PrefixFrom(a, a.BitLen())
	}
	if route.To != route.To.Masked() {
		return route, fmt.Errorf("%s has bits beyond its length: it may be %s", route.To, route.To.Masked())
	}
	if route.Via.IsValid() && route.Via.Is4() != route.To.Addr().Is4() {
		return route, fmt.Errorf("%s and %s are not of one family", route.To, route.Via)
	}
	return route, nil
}

// ipvsadm reads the director's commands, with or without the name of the program: a list, or one
// in each line of a text.
func (r *reader) ipvsadm(n *node, value *yaml.Node) {
	for _, item := range list(value) {
		for line := range strings.Lines(r.text(item, n.Name+": ipvsadm", `commands, such as  ["-A -t 10.0.0.100:80 -s rr"]`)) {
			words, err := split(line)
			if err == nil && len(words) == 0 {
				continue
			}
			if len(words) > 0 && words[0] != "ipvsadm" {
				words = slices.Insert(words, 0, "ipvsadm")
			}
			if err == nil {
				err = rule(words)
			}
			if err != nil {
				r.wrong(item, "%s: ipvsadm %q: %v; expected a command that sets up a service, such as  -A -t 10.0.0.100:80 -s rr", n.Name, strings.TrimSpace(line), err)
				continue
			}
			n.ipvsadm = append(n.ipvsadm, words)
		}
	}
}

func (r *reader) setup(n *node, value *yaml.Node) {
	for _, item := range list(value) {
		n.setup = append(n.setup, r.command(item, n.Name+": setup"))
	}
}

var fileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

func (r *reader) files(n *node, value *yaml.Node) {
	for key, body := range r.entries(value, n.Name+": files", "names and texts") {
		if !fileName.MatchString(key.Value) {
			r.wrong(key, "%s: file %q: expected a name without a directory, in letters, digits, dots, - and _", n.Name, key.Value)
		}
		text := ""
		if !isNull(body) {
			text = r.text(body, n.Name+": file "+key.Value, "its text, as a block after  |")
		}
		n.Files = append(n.Files, lab.File{Name: key.Value, Text: text})
	}
}

// services reads what runs on a node, beside what its other words start.
func (r *reader) services(n *node, value *yaml.Node) {
	for key, body := range r.entries(value, n.Name+": services", "a name for each, such as  web2: uvs http --text Web2 --listen :8080") {
		s := service{Service: lab.Service{Name: key.Value}}
		switch {
		case key.Value == "":
			r.wrong(key, "%s: a service needs a name", n.Name)
		case body.Kind == yaml.ScalarNode && body.Value == "none":
			s.none = true
		case body.Kind != yaml.MappingNode:
			s.Command, s.run = r.command(body, n.Name+": service "+key.Value), true
		default:
			r.service(&s, n, body)
		}
		n.services = append(n.services, s)
	}
}

var readiness = regexp.MustCompile(`^(|tcp:.+|unix:@?.+|alive:.+)$`)

func (r *reader) service(s *service, n *node, body *yaml.Node) {
	of := n.Name + ": service " + s.Name
	for key, value := range r.entries(body, of, "words such as run and ready") {
		switch key.Value {
		case "run":
			s.Command, s.run = r.command(value, of), true
		case "ready":
			s.Ready, s.ready = r.text(value, of+": ready", "where it answers, such as tcp:80"), true
			if !readiness.MatchString(s.Ready) {
				r.wrong(value, "%s: expected tcp:PORT, tcp:ADDRESS:PORT, unix:@NAME or alive:FILE", said(of+": ready", value))
			}
		case "setup":
			s.Setup, s.setUp = r.boolean(value, of+": setup"), true
		case "late":
			s.Late, s.lateSaid = r.boolean(value, of+": late"), true
		default:
			r.unknown(key, of, runWords)
		}
	}
}

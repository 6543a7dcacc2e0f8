package topofile

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"uvs/lab"
	"uvs/lab/wire"
	"uvs/sched"
)

// Format writes a topology as a person would, so that [Parse] reads an equal one. The error says
// that there is no such text: what a program made may have no words.
func Format(t *lab.Topology) ([]byte, error) {
	var text []byte
	methods := t.Methods()
	for _, form := range []form{{members: true, modes: true}, {modes: true}, {}} {
		w := writer{form: form, t: t, methods: methods}
		var err error
		if text, err = w.write(); err != nil {
			return nil, err
		}
		if back, err := Parse(t.Name, text); err == nil && Equal(t, &back) {
			return text, nil
		}
	}
	return nil, errors.New("topology " + t.Name + " has something that no topology file can say")
}

// Equal reports whether two topologies make the same lab: an MTU that is not given is the usual one,
// and without checks a topology promises what its nodes and commands say.
func Equal(a, b *lab.Topology) bool {
	x, errX := json.Marshal(normal(a))
	y, errY := json.Marshal(normal(b))
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// normal returns a copy in which what says the same is the same.
func normal(t *lab.Topology) lab.Topology {
	n := *t
	if n.Checks = t.Promises(); len(n.Checks) == 0 {
		n.Checks = nil
	}
	n.Networks, n.Nodes = append([]lab.Network{}, n.Networks...), append([]lab.Node{}, n.Nodes...)
	for i := range n.Networks {
		if n.Networks[i].MTU == 0 {
			n.Networks[i].MTU = usualMTU
		}
	}
	for i := range n.Nodes {
		own := &n.Nodes[i]
		own.Number = 0
		own.Interfaces = append([]lab.Interface{}, own.Interfaces...)
		for j := range own.Interfaces {
			own.Interfaces[j].Addresses = append([]lab.Address{}, own.Interfaces[j].Addresses...)
		}
	}
	return n
}

// form says which short words are used.
type form struct {
	members bool // real servers are added to services by their mode
	modes   bool
}

// writer writes a topology in one form.
type writer struct {
	form
	t       *lab.Topology
	methods map[string]sched.Method
}

// heading is the first line of a file.
const heading = "# uvs lab up FILE starts this lab; docs/topology.md explains the words.\n"

func (w *writer) write() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString(heading)
	for i, part := range []*yaml.Node{w.head(), w.nodes(), w.links(), w.putChecks()} {
		if part == nil {
			continue
		}
		if i > 0 {
			out.WriteByte('\n')
		}
		text, err := encode(part)
		if err != nil {
			return nil, err
		}
		out.Write(unquoted(text))
	}
	return out.Bytes(), nil
}

// A word with a colon may stand without quotes in a list or a mapping of one line, where the
// encoder quotes it to be safe.
var (
	oneLine = regexp.MustCompile(`^(  [a-z0-9-]+: \{|  - [a-z0-9-]+: \[|      ends: \[|    (eth[0-9:]+|vip): \[)`)
	quoted  = regexp.MustCompile(`'([a-z0-9.-]*:[a-z0-9:.-]*[a-z0-9](/[0-9]+)?)'`)
)

// unquoted takes quotes from addresses and ends of links, as a person would not write them.
func unquoted(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if oneLine.Match(line) {
			line = quoted.ReplaceAll(line, []byte("$1"))
		}
		out = append(out, line...)
	}
	return out
}

func encode(n *yaml.Node) ([]byte, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(n); err != nil {
		return nil, err
	}
	return out.Bytes(), enc.Close()
}

// Parts of YAML.

func word(text string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(text)
	return n
}

func literal(text string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: text} }

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

// put adds an entry to a mapping.
func put(m *yaml.Node, key string, value *yaml.Node) {
	m.Content = append(m.Content, word(key), value)
}

// sequence is a list in one line, or with a line for each item.
func sequence(oneLine bool, items ...*yaml.Node) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Content: items}
	if oneLine {
		n.Style = yaml.FlowStyle
	}
	return n
}

// some is a single value, or a list of several in one line.
func some(items []*yaml.Node) *yaml.Node {
	if len(items) == 1 {
		return items[0]
	}
	return sequence(true, items...)
}

func (w *writer) head() *yaml.Node {
	m := mapping()
	put(m, "name", word(w.t.Name))
	if w.t.Title != "" {
		put(m, "title", word(w.t.Title))
	}
	if w.t.Bare {
		put(m, "bare", literal("true"))
	}
	if mtu := w.mtu(); mtu != usualMTU {
		put(m, "mtu", number(mtu))
	}
	if w.plain() {
		put(m, "offload", literal("false"))
	}
	if w.t.Seed != 0 {
		put(m, "seed", literal(strconv.FormatUint(w.t.Seed, 10)))
	}
	return m
}

// mtu returns that of most networks: of all, or the usual one.
func (w *writer) mtu() int {
	mtu := 0
	for _, n := range w.t.Networks {
		if mtu != 0 && n.MTU != mtu {
			return usualMTU
		}
		mtu = n.MTU
	}
	if mtu == 0 {
		return usualMTU
	}
	return mtu
}

// plain reports whether no network has offloads.
func (w *writer) plain() bool {
	return len(w.t.Networks) > 0 && !slices.ContainsFunc(w.t.Networks, func(n lab.Network) bool { return !n.NoOffload })
}

func (w *writer) links() *yaml.Node {
	all := sequence(false)
	for i := range w.t.Networks {
		link := mapping()
		put(link, w.t.Networks[i].Name, w.network(&w.t.Networks[i]))
		all.Content = append(all.Content, link)
	}
	m := mapping()
	put(m, "links", all)
	return m
}

// end writes an end of a link, with what that does to frames.
func end(where string, impair wire.Impairment) *yaml.Node {
	if impair == (wire.Impairment{}) {
		return word(where)
	}
	m := mapping()
	put(m, "to", word(where))
	for _, text := range strings.Fields(impair.String()) {
		name, value, given := strings.Cut(text, "=")
		if !given {
			value = "true"
		}
		put(m, name, literal(value))
	}
	return m
}

func (w *writer) network(n *lab.Network) *yaml.Node {
	var ends []*yaml.Node
	for i := range w.t.Nodes {
		for j, iface := range w.t.Nodes[i].Interfaces {
			if iface.Network == n.Name {
				ends = append(ends, end(w.t.Nodes[i].Name+":"+link(j), iface.Impair))
			}
		}
	}
	list := sequence(true, ends...)
	mtu := n.MTU
	if mtu == 0 {
		mtu = usualMTU
	}
	if mtu == w.mtu() && n.NoOffload == w.plain() {
		return list
	}
	m := mapping()
	put(m, "ends", list)
	if mtu != w.mtu() {
		put(m, "mtu", number(mtu))
	}
	if n.NoOffload != w.plain() {
		put(m, "offload", literal(map[bool]string{true: "false", false: "true"}[n.NoOffload]))
	}
	return m
}

// wide is how many columns a node may take in one line.
const wide = 110

func (w *writer) nodes() *yaml.Node {
	all := mapping()
	for i := range w.t.Nodes {
		n := &w.t.Nodes[i]
		body := w.node(n)
		body.Style = yaml.FlowStyle
		line := mapping()
		put(line, n.Name, body)
		if text, err := encode(line); err != nil || len(text) > wide || bytes.Count(text, []byte("\n")) > 1 {
			body.Style = 0
		}
		put(all, n.Name, body)
	}
	m := mapping()
	put(m, "nodes", all)
	return m
}

// commands writes commands, one in a line.
func commands(all []lab.Command, strip string) *yaml.Node {
	list := sequence(false)
	for _, c := range all {
		list.Content = append(list.Content, typed(c, strip))
	}
	return list
}

// typed writes a command as it is typed, without the name of a program that need not be said.
func typed(c lab.Command, strip string) *yaml.Node {
	if text, ok := join(c); ok && text != "none" {
		return word(strings.TrimPrefix(text, strip))
	}
	list := sequence(true)
	for _, w := range c {
		list.Content = append(list.Content, word(w))
	}
	return list
}

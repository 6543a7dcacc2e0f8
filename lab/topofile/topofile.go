// Package topofile reads and writes topologies of labs as YAML, of which JSON is a part:
// docs/topology.md explains the words.
//
// A file says what a person would: a real server's mode stands for the commands that its
// forwarding method needs, a role for what runs on such a node. [Parse] writes all of that out
// as a [lab.Topology], [Format] finds the short words again. What Format writes, Parse reads as
// an equal topology.
package topofile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"uvs/lab"
)

// Mistake is something wrong at a place of a file.
type Mistake struct {
	File         string
	Line, Column int // from 1
	Text         string
}

func (m *Mistake) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text)
}

const (
	maxMistakes = 10        // that are reported
	maxSize     = 256 << 10 // bytes of a file
)

// Parse reads a topology; file is its name in messages and, without directory and extension, the
// topology's if the text gives none. The error joins a [Mistake] for each thing that is wrong, up to
// ten in the order of the file; each says where it is and what is expected there.
func Parse(file string, text []byte) (lab.Topology, error) {
	if len(text) > maxSize {
		return lab.Topology{}, fmt.Errorf("%s: %d bytes are more than a topology takes", file, len(text))
	}
	root, err := document(file, text)
	if err != nil {
		return lab.Topology{}, err
	}
	r := &reader{file: file, nodes: map[string]*node{}}
	r.topology.Name = nameOf(file)
	r.top(root)
	if len(r.mistakes) == 0 {
		r.lower()
		r.finishChecks()
	}
	if err := r.failed(); err != nil {
		return lab.Topology{}, err
	}
	return r.topology, nil
}

// document returns the root of the only document of a text.
func document(file string, text []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0 {
		return nil, &Mistake{file, 1, 1, "it is empty: expected nodes and links"}
	}
	if err == nil {
		if err = dec.Decode(&second); err == nil {
			return nil, &Mistake{file, second.Line, max(second.Column, 1), "a second document: expected one topology in a file"}
		} else if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return nil, syntax(file, text, err)
	}
	return doc.Content[0], nil
}

// inLine is where the parser's errors say which line is meant.
var inLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// syntax tells an error of YAML itself. The parser names the line at most; what is wrong there
// begins where the text does.
func syntax(file string, text []byte, err error) error {
	first, _, _ := strings.Cut(err.Error(), "\n")
	m := inLine.FindStringSubmatch(first)
	line, _ := strconv.Atoi(m[1])
	if strings.HasPrefix(m[2], "did not find expected") {
		line++ // of these errors it counts lines from 0
	}
	lines := strings.Split(string(text), "\n")
	line = min(max(line, 1), len(lines))
	at := lines[line-1]
	return &Mistake{file, line, 1 + len(at) - len(strings.TrimLeft(at, " \t")), m[2] + ": expected YAML, as docs/topology.md shows it"}
}

// nameOf returns the name of a topology from that of its file.
func nameOf(file string) string {
	name := strings.ToLower(filepath.Base(file))
	name, _, _ = strings.Cut(name, ".")
	if !lab.IsNodeName(name) {
		return "mine"
	}
	return name
}

// reader collects the topology and what is wrong with its text.
type reader struct {
	file     string
	topology lab.Topology
	mtu      int // of networks that do not say another, in bytes
	plain    bool
	nodes    map[string]*node
	order    []*node
	checks   []*yaml.Node // where each check begins
	mistakes []*Mistake
	merges   int
}

// wrong notes a mistake at a place of the text.
func (r *reader) wrong(at *yaml.Node, format string, args ...any) {
	if len(r.mistakes) > 10*maxMistakes {
		return
	}
	r.mistakes = append(r.mistakes, &Mistake{r.file, max(at.Line, 1), max(at.Column, 1), fmt.Sprintf(format, args...)})
}

// failed joins what is wrong.
func (r *reader) failed() error {
	slices.SortStableFunc(r.mistakes, func(a, b *Mistake) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	var all []error
	for _, m := range r.mistakes[:min(len(r.mistakes), maxMistakes)] {
		all = append(all, m)
	}
	return errors.Join(all...)
}

// top reads the outermost words. Nodes are read before links, wherever they stand.
func (r *reader) top(root *yaml.Node) {
	var links *yaml.Node
	seen := map[string]bool{}
	for key, value := range r.entries(root, "a topology", "nodes and links") {
		seen[key.Value] = true
		switch key.Value {
		case "name":
			r.name(value)
		case "title":
			r.topology.Title = r.text(value, "title", "a sentence about the lab")
		case "bare":
			r.topology.Bare = r.boolean(value, "bare")
		case "mtu":
			r.mtu = r.mtuOf(value)
		case "offload":
			r.plain = !r.boolean(value, "offload")
		case "seed":
			r.topology.Seed = r.seed(value)
		case "nodes":
			r.readNodes(value)
		case "links":
			links = value
		case "check":
			r.readChecks(value)
		default:
			r.unknown(key, "a topology", topWords)
		}
	}
	for _, need := range []string{"nodes", "links"} {
		if !seen[need] && len(r.mistakes) == 0 {
			r.wrong(root, "there are no %s: expected %s", need, map[string]string{
				"nodes": "nodes: with a name for each, such as  rs1: {role: real, eth0: 10.0.0.11/24, http: Web1}",
				"links": "links: with a list of networks, such as  - lan: [client:eth0, director:eth0, rs1:eth0]"}[need])
		}
	}
	if links != nil {
		r.readLinks(links)
	}
}

func (r *reader) name(value *yaml.Node) {
	name := r.text(value, "name", "the topology's name")
	if name != "" && !lab.IsNodeName(name) {
		r.wrong(value, "name %q: expected small letters, digits and hyphens", name)
	}
	r.topology.Name = name
}

// seed reads where chance begins.
func (r *reader) seed(value *yaml.Node) uint64 {
	v, err := strconv.ParseUint(value.Value, 10, 64)
	if value.Kind != yaml.ScalarNode || err != nil || v == 0 {
		r.wrong(value, "seed: expected a number from 1 to %d", uint64(math.MaxUint64))
	}
	return v
}

// mtuOf reads an MTU in bytes.
func (r *reader) mtuOf(value *yaml.Node) int { return r.number(value, "mtu", 576, 65521) }

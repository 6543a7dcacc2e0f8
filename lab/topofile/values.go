package topofile

import (
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"uvs/lab"
)

// plain returns what an alias stands for.
func plain(n *yaml.Node) *yaml.Node {
	for range 100 {
		if n.Kind != yaml.AliasNode || n.Alias == nil {
			break
		}
		n = n.Alias
	}
	return n
}

// isNull reports whether nothing stands there.
func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// entries returns the keys and values of a mapping, or of a list of mappings with one key each,
// in their order. What a merge key (<<) names comes first, unless the mapping says it itself. A
// key that is there twice is a mistake.
func (r *reader) entries(n *yaml.Node, what, want string) iter.Seq2[*yaml.Node, *yaml.Node] {
	var all [][2]*yaml.Node
	switch n = plain(n); {
	case n.Kind == yaml.MappingNode:
		all = r.merged(n, what, 0)
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0:
		for _, item := range n.Content {
			if item = plain(item); item.Kind != yaml.MappingNode || len(item.Content) != 2 {
				r.wrong(item, "%s: expected %s", what, want)
				continue
			}
			all = append(all, [2]*yaml.Node{item.Content[0], item.Content[1]})
		}
		all = r.once(all, what)
	default:
		r.wrong(n, "%s: expected %s", what, want)
	}
	return func(yield func(key, value *yaml.Node) bool) {
		for _, e := range all {
			if !yield(e[0], plain(e[1])) {
				return
			}
		}
	}
}

// maxMerges is how many mappings a file may merge: more are an attempt to make much of little.
const maxMerges = 2000

// merged returns the entries of a mapping and of those that it merges.
func (r *reader) merged(n *yaml.Node, what string, depth int) (all [][2]*yaml.Node) {
	var from []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Tag != "!!merge" {
			all = append(all, [2]*yaml.Node{key, value})
			continue
		}
		if from = append(from, plain(value)); from[0].Kind == yaml.SequenceNode {
			from = from[0].Content
		}
	}
	all = r.once(all, what)
	for _, m := range from {
		if r.merges++; r.merges > maxMerges {
			break
		}
		if m = plain(m); m.Kind != yaml.MappingNode || depth > 10 {
			r.wrong(m, "<<: expected a mapping that is written elsewhere with &NAME, as *NAME")
			continue
		}
		var more [][2]*yaml.Node
		for _, e := range r.merged(m, what, depth+1) {
			if !slices.ContainsFunc(all, func(own [2]*yaml.Node) bool { return own[0].Value == e[0].Value }) {
				more = append(more, e)
			}
		}
		all = append(more, all...)
	}
	return all
}

// once leaves out keys that were there before.
func (r *reader) once(all [][2]*yaml.Node, what string) (unique [][2]*yaml.Node) {
	lines := map[string]int{}
	for _, e := range all {
		key := e[0]
		if key.Kind != yaml.ScalarNode {
			r.wrong(key, "%s: expected a word", what)
			continue
		}
		if line := lines[key.Value]; line != 0 {
			r.wrong(key, "%s is there twice: first in line %d", key.Value, line)
			continue
		}
		lines[key.Value] = max(key.Line, 1)
		unique = append(unique, e)
	}
	return unique
}

// list returns the items of a list; a single value is a list of one, nothing an empty one.
func list(n *yaml.Node) (items []*yaml.Node) {
	switch n = plain(n); {
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			items = append(items, plain(item))
		}
		return items
	case isNull(n):
		return nil
	}
	return []*yaml.Node{n}
}

// text returns a scalar.
func (r *reader) text(n *yaml.Node, what, want string) string {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		r.wrong(n, "%s: expected %s", what, want)
		return ""
	}
	return n.Value
}

func (r *reader) boolean(n *yaml.Node, what string) bool {
	if n.Kind != yaml.ScalarNode || n.Value != "true" && n.Value != "false" {
		r.wrong(n, "%s: expected true or false", what)
	}
	return n.Value == "true"
}

func (r *reader) number(n *yaml.Node, what string, low, high int) int {
	v, err := strconv.Atoi(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || v < low || v > high {
		r.wrong(n, "%s: expected a number from %d to %d", what, low, high)
	}
	return v
}

func (r *reader) addr(n *yaml.Node, what string) netip.Addr {
	a, err := netip.ParseAddr(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil || a.Zone() != "" {
		r.wrong(n, "%s: expected an address, such as 10.0.0.1", said(what, n))
	}
	return a
}

// said is a word with the value that it has, if that is short.
func said(what string, n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || isNull(n) || len(n.Value) > 60 {
		return what
	}
	return what + " " + strconv.Quote(n.Value)
}

// command reads a command as it would be typed, or as a list of words.
func (r *reader) command(n *yaml.Node, what string) lab.Command {
	var c lab.Command
	if n.Kind == yaml.SequenceNode {
		for _, w := range list(n) {
			c = append(c, r.text(w, what, "words of a command"))
		}
	} else {
		words, err := split(r.text(n, what, "a command"))
		if err != nil {
			r.wrong(n, "%s: %v", what, err)
		}
		c = words
	}
	if len(c) == 0 || c[0] == "" {
		r.wrong(n, "%s: expected a command", what)
	}
	return c
}

// split splits a command into words at blanks; what is in quotes stays together. No shell reads
// it: a dollar sign is a dollar sign.
func split(text string) (words []string, err error) {
	var word strings.Builder
	begun, quote := false, rune(0)
	for _, c := range text {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '"' || c == '\'':
			begun, quote = true, c
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if begun {
				words = append(words, word.String())
			}
			begun = false
			word.Reset()
		default:
			begun = true
			word.WriteRune(c)
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}

// join writes a command so that split reads it, if that is possible.
func join(c lab.Command) (string, bool) {
	var words []string
	for _, w := range c {
		switch {
		case w != "" && !strings.ContainsAny(w, " \t\r\n\"'"):
		case !strings.Contains(w, "'"):
			w = "'" + w + "'"
		default:
			return "", false
		}
		words = append(words, w)
	}
	return strings.Join(words, " "), true
}

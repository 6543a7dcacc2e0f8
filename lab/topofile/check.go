package topofile

import (
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"uvs/internal/lang"
	"uvs/lab"
)

// readChecks reads what the lab promises: a list in which each item has the kind of a check, and
// what that needs.
func (r *reader) readChecks(value *yaml.Node) {
	r.topology.Checks = []lab.Check{}
	for _, item := range list(value) {
		if item.Kind != yaml.MappingNode || len(item.Content) != 2 {
			r.wrong(item, "check: expected its kind and what it needs, such as  - alternate: {expect: [Web1, Web2]}")
			continue
		}
		key, body := item.Content[0], plain(item.Content[1])
		if !slices.Contains(lab.CheckKinds(), key.Value) {
			r.wrong(key, "unknown check %q%s", key.Value, suggest(key.Value, lab.CheckKinds()))
			continue
		}
		c := lab.Check{Kind: key.Value}
		if !isNull(body) {
			r.readCheck(&c, body)
		}
		r.topology.Checks = append(r.topology.Checks, c)
		r.checks = append(r.checks, key)
	}
}

func (r *reader) readCheck(c *lab.Check, body *yaml.Node) {
	of := "check " + c.Kind
	texts := map[string]*string{"name": &c.Name, "from": &c.From, "get": &c.Get, "to": &c.To}
	lists := map[string]*[]string{"on": &c.On, "expect": &c.Expect, "through": &c.Through, "past": &c.Past}
	numbers := map[string]*int{"times": &c.Times, "size": &c.Size}
	for key, value := range r.entries(body, of, "words such as expect") {
		word := of + ": " + key.Value
		switch {
		case texts[key.Value] != nil:
			*texts[key.Value] = r.text(value, word, "a word")
		case lists[key.Value] != nil:
			for _, item := range list(value) {
				*lists[key.Value] = append(*lists[key.Value], r.text(item, word, "a word, or a list"))
			}
		case numbers[key.Value] != nil:
			*numbers[key.Value] = r.number(value, word, 0, 1<<30)
		case key.Value == "weights":
			for _, item := range list(value) {
				c.Weights = append(c.Weights, r.number(item, word, 0, 65535))
			}
		case key.Value == "only":
			c.Only = r.boolean(value, word)
		case key.Value == "command":
			c.Command = r.command(value, word)
		case key.Value == "within":
			d, err := time.ParseDuration(value.Value)
			if err != nil || d < 0 || value.Kind != yaml.ScalarNode {
				r.wrong(value, "%s: expected a time with its unit, such as 5s", said(word, value))
			}
			c.Within = d
		case key.Value == "hint":
			c.Hint = r.hint(word, value)
		default:
			r.unknown(key, of, checkWords)
		}
	}
}

// hint reads a text for both languages, or one for each.
func (r *reader) hint(of string, value *yaml.Node) (t lang.Text) {
	if value.Kind != yaml.MappingNode {
		text := r.text(value, of, "a sentence, or  {en: …, zh: …}")
		return lang.Text{EN: text, ZH: text}
	}
	for key, text := range r.entries(value, of, "en and zh") {
		switch key.Value {
		case "en":
			t.EN = r.text(text, of, "a sentence")
		case "zh":
			t.ZH = r.text(text, of, "a sentence")
		default:
			r.unknown(key, of, hintWords)
		}
	}
	return t
}

// finishChecks sees that checks are about what there is. A topology that says none promises what
// its nodes and commands say.
func (r *reader) finishChecks() {
	t := &r.topology
	if t.Checks == nil {
		t.Checks = t.Promises()
		return
	}
	names := map[string]bool{}
	for i := range t.Checks {
		c := &t.Checks[i]
		if err := c.Valid(t); err != nil {
			r.wrong(r.checks[i], "%v", err)
		}
		name := c.Name
		if name == "" {
			name = c.Kind
		}
		if names[name] {
			r.wrong(r.checks[i], "two checks are called %q: expected  name:  with another name", name)
		}
		names[name] = true
	}
}

// putChecks writes the checks, unless they are what a file without them promises.
func (w *writer) putChecks() *yaml.Node {
	bare := *w.t
	bare.Checks = nil
	if w.t.Checks == nil || reflect.DeepEqual(bare.Promises(), w.t.Checks) {
		return nil
	}
	all := sequence(len(w.t.Checks) == 0)
	for i := range w.t.Checks {
		m := mapping()
		put(m, w.t.Checks[i].Kind, checkBody(&w.t.Checks[i]))
		all.Content = append(all.Content, m)
	}
	m := mapping()
	put(m, "check", all)
	return m
}

// checkBody writes a check in the order of checkWords.
func checkBody(c *lab.Check) *yaml.Node {
	m := mapping()
	putWords(m, "name", c.Name)
	putWords(m, "from", c.From)
	putWords(m, "on", c.On...)
	putWords(m, "get", c.Get)
	putWords(m, "to", c.To)
	putWords(m, "expect", c.Expect...)
	putNumbers(m, "weights", c.Weights...)
	if c.Times != 0 {
		putNumbers(m, "times", c.Times)
	}
	if c.Size != 0 {
		putNumbers(m, "size", c.Size)
	}
	if c.Only {
		put(m, "only", literal("true"))
	}
	putWords(m, "through", c.Through...)
	putWords(m, "past", c.Past...)
	if len(c.Command) > 0 {
		put(m, "command", typed(c.Command, ""))
	}
	if c.Within != 0 {
		put(m, "within", word(c.Within.String()))
	}
	if c.Hint != (lang.Text{}) {
		put(m, "hint", hintBody(c.Hint))
	}
	return m
}

// putWords writes one word or several, in one line if they fit; nothing if there is none.
func putWords(m *yaml.Node, key string, words ...string) {
	var items []*yaml.Node
	for _, w := range words {
		items = append(items, word(w))
	}
	switch {
	case len(items) == 0 || len(items) == 1 && words[0] == "":
	case len(strings.Join(words, ", ")) > wide-20:
		put(m, key, sequence(false, items...))
	default:
		put(m, key, some(items))
	}
}

func putNumbers(m *yaml.Node, key string, numbers ...int) {
	var items []*yaml.Node
	for _, n := range numbers {
		items = append(items, number(n))
	}
	if len(items) > 0 {
		put(m, key, some(items))
	}
}

func hintBody(t lang.Text) *yaml.Node {
	if t.EN == t.ZH {
		return word(t.EN)
	}
	m := mapping()
	put(m, "en", word(t.EN))
	put(m, "zh", word(t.ZH))
	return m
}

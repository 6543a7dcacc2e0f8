package lint

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// block is a piece of a page: a heading, a paragraph, an item of a list, a row of a table, or
// code.
type block struct {
	kind    string // heading 1, heading 2 …, paragraph, item, row, code
	text    string // without the marks of its kind; code as it stands
	line    int
	section string // the last heading before it, or its own text
}

// blocks cuts a page into its pieces.
func blocks(page string) []block {
	var c cutter
	for i, line := range strings.Split(strings.TrimRight(page, "\n"), "\n") {
		c.add(i+1, line)
	}
	for i := range c.all {
		c.all[i].text = strings.TrimRight(c.all[i].text, "\n")
	}
	return c.all
}

type cutter struct {
	all    []block
	fenced bool
	open   bool // the next line may belong to the last block
}

var heading = regexp.MustCompile(`^(#+) (.*)$`)

func (c *cutter) add(n int, line string) {
	switch {
	case strings.HasPrefix(line, "```"):
		c.fenced = !c.fenced
		if c.fenced {
			c.start(n, "code", "")
		}
		c.open = false
	case c.fenced:
		c.last().text += line + "\n"
	case line == "":
		if c.open && c.last().kind == "code" {
			c.last().text += "\n"
			return
		}
		c.open = false
	case strings.HasPrefix(line, "    ") && !(c.open && c.last().kind != "code"):
		if !c.open {
			c.start(n, "code", "")
		}
		c.last().text += line + "\n"
	default:
		c.addText(n, line)
	}
}

func (c *cutter) addText(n int, line string) {
	if m := heading.FindStringSubmatch(line); m != nil {
		c.start(n, fmt.Sprintf("heading %d", len(m[1])), m[2])
		c.last().section = m[2]
		c.open = false
		return
	}
	if strings.HasPrefix(line, "|") {
		if !strings.HasPrefix(line, "|---") {
			c.start(n, "row", line)
		}
		c.open = false
		return
	}
	if strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "* ") {
		c.start(n, "item", line[2:])
		return
	}
	if c.open && c.last().kind != "code" {
		c.last().text += " " + strings.TrimSpace(line)
		return
	}
	c.start(n, "paragraph", line)
}

func (c *cutter) start(n int, kind, text string) {
	b := block{kind: kind, text: text, line: n}
	if len(c.all) > 0 {
		b.section = c.last().section
	}
	c.all, c.open = append(c.all, b), true
}

func (c *cutter) last() *block { return &c.all[len(c.all)-1] }

var (
	span    = regexp.MustCompile("`[^`]+`")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	comment = regexp.MustCompile(`(\S +)(# ).*$`)
)

// spans returns what stands as code within the text, each once, in order.
func (b block) spans() []string {
	all := span.FindAllString(b.text, -1)
	slices.Sort(all)
	return slices.Compact(all)
}

// links returns where the text leads to, in order.
func (b block) links() []string {
	var all []string
	for _, m := range link.FindAllStringSubmatch(span.ReplaceAllString(b.text, ""), -1) {
		all = append(all, m[1])
	}
	slices.Sort(all)
	return all
}

// code returns a block of code without its comments, which stand two spaces and more behind a
// command.
func (b block) code() string {
	lines := strings.Split(b.text, "\n")
	for i, line := range lines {
		if m := comment.FindStringSubmatchIndex(line); m != nil && m[3]-m[2] > 2 {
			lines[i] = line[:m[5]]
		}
	}
	return strings.Join(lines, "\n")
}

// typed returns the commands of a block of code, without " --lang zh".
func (b block) typed() string {
	var all []string
	for line := range strings.Lines(b.code()) {
		if strings.HasPrefix(line, "    $ ") {
			all = append(all, strings.ReplaceAll(strings.TrimSpace(line), " --lang zh", ""))
		}
	}
	return strings.Join(all, "\n")
}

// cells returns how many cells a row of a table has.
func (b block) cells() int {
	return strings.Count(span.ReplaceAllString(b.text, ""), "|") - 1
}

// slug returns the name by which GitHub links to a heading.
func slug(heading string) string {
	var s strings.Builder
	for _, r := range strings.ToLower(strings.NewReplacer("`", "", "*", "").Replace(heading)) {
		switch {
		case r == ' ':
			s.WriteByte('-')
		case r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || r >= 0x3400 && r < 0xa000:
			s.WriteRune(r)
		}
	}
	return s.String()
}

// resolve returns the file that a link of a page leads to, from the module's root, and the
// place in it.
func resolve(page, to string) (file, place string) {
	if strings.Contains(to, "://") {
		return to, ""
	}
	file, place, _ = strings.Cut(to, "#")
	if file == "" {
		return page, place
	}
	return path.Join(path.Dir(page), file), place
}

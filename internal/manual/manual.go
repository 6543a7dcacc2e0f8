// Package manual writes man pages for a tree of commands, one for each, from the same texts as
// --help. The pages are in the macros of man(7). Cobra's own writer takes these texts for
// Markdown, which they are not: it would fill the lines of tables and drop asterisks.
package manual

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Section is the section of all pages: commands that administer the system.
const Section = "8"

// Write writes the pages of root's commands, and of those below them, into dir. It writes none
// for root itself, nor for commands that leave says are described by hand. Date is that
// of the pages.
func Write(dir string, root *cobra.Command, date time.Time, leave func(*cobra.Command) bool) error {
	for _, c := range root.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		if !leave(c) {
			path := filepath.Join(dir, Name(c)+"."+Section)
			if err := os.WriteFile(path, Page(c, date), 0o644); err != nil {
				return err
			}
		}
		if err := Write(dir, c, date, leave); err != nil {
			return err
		}
	}
	return nil
}

// Name returns the name of a command's page: the words of the command, joined by hyphens.
func Name(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// Page returns the page of a command.
func Page(c *cobra.Command, date time.Time) []byte {
	c.InitDefaultHelpFlag()
	var p page
	fmt.Fprintf(&p, ".TH %s %s %s %s \"System Manager\\(aqs Manual\"\n",
		escape(strings.ToUpper(Name(c))), Section, date.Format(time.DateOnly), c.Root().Name())
	p.macro("SH", "NAME")
	p.line(escape(Name(c)) + ` \-`)
	p.fill(c.Short)
	p.macro("SH", "SYNOPSIS")
	p.line(bold(c.CommandPath()))
	p.fill(arguments(c))
	p.macro("SH", "DESCRIPTION")
	p.text(describe(c))
	p.options(c)
	if c.Example != "" {
		p.macro("SH", "EXAMPLES")
		p.lines(strings.Split(c.Example, "\n"))
	}
	p.below(c)
	p.seeAlso(c)
	return p.Bytes()
}

// arguments returns what follows a command's name. Cobra adds the word flags also to those that
// read their words themselves.
func arguments(c *cobra.Command) string {
	use := strings.TrimPrefix(c.UseLine(), c.CommandPath())
	if c.DisableFlagParsing {
		use = strings.TrimSuffix(use, "[flags]")
	}
	return use
}

// describe returns what a command says of itself at length. Without such a text it is
// the short one, as a sentence.
func describe(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return strings.TrimSuffix(c.Short, ".") + "."
}

// options lists the flags. A command that reads its words itself lists them in its text.
func (p *page) options(c *cobra.Command) {
	if c.DisableFlagParsing {
		return
	}
	p.macro("SH", "OPTIONS")
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			p.option(f)
		}
	})
}

func (p *page) option(f *pflag.Flag) {
	value, usage := pflag.UnquoteUsage(f)
	head := bold("--" + f.Name)
	if f.Shorthand != "" {
		head = bold("-"+f.Shorthand) + ", " + head
	}
	if value != "" {
		head += ` \fI` + escape(value) + `\fR`
	}
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
		usage += " (default " + f.DefValue + ")"
	}
	p.macro("TP")
	p.line(head)
	p.fill(usage)
}

// below lists the commands below this one.
func (p *page) below(c *cobra.Command) {
	if !c.HasAvailableSubCommands() {
		return
	}
	p.macro("SH", "COMMANDS")
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			p.macro("TP")
			p.line(bold(sub.CommandPath()))
			p.fill(sub.Short + ".")
		}
	}
}

func (p *page) seeAlso(c *cobra.Command) {
	names := []string{c.Root().Name()}
	if c.HasParent() && c.Parent() != c.Root() {
		names = append(names, Name(c.Parent()))
	}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, Name(sub))
		}
	}
	slices.Sort(names)
	p.macro("SH", "SEE ALSO")
	for i, name := range names {
		end := ","
		if i == len(names)-1 {
			end = ""
		}
		p.line(fmt.Sprintf(`.BR %s (%s)%s`, escape(name), Section, end))
	}
}

// page is the text of a page in the making.
type page struct{ bytes.Buffer }

// macro writes a request, with its argument if it has one.
func (p *page) macro(name string, argument ...string) {
	p.line("." + strings.Join(append([]string{name}, argument...), " "))
}

// line writes a line that is escaped already.
func (p *page) line(s string) { p.WriteString(s + "\n") }

// text writes paragraphs. Lines that are indented stay as they are.
func (p *page) text(s string) {
	blocks := strings.Split(strings.Trim(s, "\n"), "\n\n")
	for i, block := range blocks {
		lines := strings.Split(block, "\n")
		indented := strings.HasPrefix(lines[0], " ")
		if i > 0 && !indented {
			p.macro("PP")
		}
		switch {
		case !indented:
			p.fill(block)
		case flagLines(lines):
			p.flagLines(lines)
		case i == 0:
			p.lines(lines)
		default:
			p.macro("PP")
			p.lines(lines)
		}
	}
}

// flagLine matches a line by which pflag explains a flag: its names, with the value, and after
// some spaces what it does.
var flagLine = regexp.MustCompile(`^ +(-.*?\S) {3,}(\S.*)$`)

func flagLines(lines []string) bool {
	return !slices.ContainsFunc(lines, func(l string) bool { return !flagLine.MatchString(l) })
}

// flagLines writes such lines as the OPTIONS of other pages are written.
func (p *page) flagLines(lines []string) {
	for _, l := range lines {
		part := flagLine.FindStringSubmatch(l)
		p.macro("TP")
		p.line(bold(part[1]))
		p.fill(part[2])
	}
}

// width is the length of a line of the source, which mandoc(1) wants to be 80 at most. An
// escape is longer than the character that it stands for.
const width = 60

// fill writes words, broken into lines.
func (p *page) fill(s string) {
	var line []string
	n := 0
	flush := func() {
		if len(line) > 0 {
			p.line(unrequest(escape(strings.Join(line, " "))))
		}
		line, n = nil, 0
	}
	for _, word := range strings.Fields(s) {
		if n+len(word) > width {
			flush()
		}
		line, n = append(line, word), n+len(word)+1
	}
	flush()
}

// lines writes lines without filling them. One that is too long for the source goes on in
// the next by \c.
func (p *page) lines(lines []string) {
	p.macro("nf")
	for _, l := range lines {
		l = strings.ReplaceAll(strings.TrimRight(l, " "), "\t", "        ")
		for len(l) > width && strings.Contains(l[:width], " ") {
			cut := strings.LastIndex(l[:width], " ") + 1
			p.line(unrequest(escape(l[:cut])) + `\c`)
			l = l[cut:]
		}
		p.line(unrequest(escape(l)))
	}
	p.macro("fi")
}

func bold(s string) string { return `\fB` + escape(s) + `\fR` }

// special are the characters that troff would set as others, or take for its own.
var special = strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "^", `\(ha`, "~", `\(ti`, `"`, `\(dq`)

// escape returns s as text that is set as it is.
func escape(s string) string { return special.Replace(s) }

// unrequest keeps a line from being taken for a request.
func unrequest(s string) string {
	if strings.HasPrefix(s, ".") {
		return `\&` + s
	}
	return s
}

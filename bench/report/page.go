package report

import (
	_ "embed"
	"fmt"
	"html"
	"strings"
)

//go:embed report.css
var styles string

// Markup is HTML or SVG that is written as it is; everything else is escaped.
type Markup string

// markup is a page under way. It does without html/template, for which the linker would keep every
// exported method of the whole program: a quarter of its size.
type markup struct{ strings.Builder }

// write writes a format, whose verbs are all %s. What is not Markup is escaped.
func (m *markup) write(format string, args ...any) {
	escaped := make([]any, len(args))
	for i, a := range args {
		if raw, ok := a.(Markup); ok {
			escaped[i] = string(raw)
		} else {
			escaped[i] = html.EscapeString(fmt.Sprint(a))
		}
	}
	fmt.Fprintf(m, format, escaped...)
}

// text returns the page.
func (p *page) text() string {
	var m markup
	m.write(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>%s</title>
<style>
%s`, p.Title, Markup(styles))
	for _, c := range p.Colours {
		m.write("svg .c%s { fill:var(--c%s); } svg .curve.c%s { fill:none; stroke:var(--c%s); }\n", c, c, c, c)
	}
	m.write("</style>\n</head>\n<body>\n")
	p.head(&m)
	p.judged(&m)
	p.sections(&m)
	p.background(&m)
	m.write("</body>\n</html>\n")
	return m.String()
}

// head is what a reader sees first.
func (p *page) head(m *markup) {
	m.write("<h1>%s</h1>\n<p class=\"soft\">%s, %s", p.Title, p.When, p.Took)
	if p.Meta.Revision != "" {
		m.write(", revision %s", p.Meta.Revision)
	}
	if p.Meta.Modified {
		m.write(" with changes")
	}
	m.write("</p>\n\n<div class=\"cards\">\n<div class=\"card\"><b>%s</b>noise grade</div>\n", p.Noise.Grade)
	for _, v := range p.Verdicts {
		m.write("<div class=\"card\"><b class=\"v-%s\">%s %s</b>%s</div>\n", strings.ToLower(string(v.Verdict)), signs[v.Verdict], v.N, v.Verdict)
	}
	for _, c := range p.LimitCards {
		m.write("<div class=\"card\"><b class=\"%s\">%s</b>limits %s</div>\n", c.Class, c.Text, c.Label)
	}
	m.write("</div>\n<p>%s</p>\n", p.Noise)
	for _, c := range p.Claims {
		m.write("<p>%s</p>\n", c)
	}
	if len(p.Warnings) > 0 {
		m.write(`<ul class="warnings">`)
		for _, w := range p.Warnings {
			m.write("<li>%s</li>", w)
		}
		m.write("</ul>")
	}
	m.write("\n")
}

// judged are the verdicts and limits, and what the colours stand for.
func (p *page) judged(m *markup) {
	for i := range p.Judged {
		title := "Verdicts"
		if p.Judged[i].Title == "Limits" {
			title = "Limits"
		}
		m.write("<h2>%s</h2>\n", title)
		p.Judged[i].write(m)
		m.write("\n")
	}
	m.write("<h2>Colours and marks</h2>\n<ul class=\"key\">")
	for _, k := range p.Key {
		m.write(`<li><svg viewBox="0 0 12 12" role="img" aria-label="colour"><rect class="bar %s" width="12" height="12"/></svg> %s</li>`, k.Class, k.Text)
	}
	m.write(`</ul>
<p class="soft">In bar plots the bar is the median, the line over it its 95 %% interval, and each dot a trial. Beside a baseline the mark is the median of the ratios, in the colour of its verdict; the shaded band around 1 is what the A/A run says may not be claimed. A dashed line is a target whose colour another has already.</p>
`)
	for i := range p.Ratios {
		p.Ratios[i].write(m)
	}
	m.write("\n")
}

func (p *page) sections(m *markup) {
	for i := range p.Sections {
		s := &p.Sections[i]
		m.write("\n")
		for j := range s.Tables {
			m.write("<h2>%s</h2>\n", s.Tables[j].Title)
			if s.Tables[j].Note != "" {
				m.write(`<p class="soft">%s</p>`, s.Tables[j].Note)
				m.write("\n")
			}
			s.Tables[j].write(m)
			m.write("\n")
		}
		for j := range s.Figures {
			s.Figures[j].write(m)
		}
	}
	m.write("\n\n")
}

// background is how the numbers were made, where, and all of them.
func (p *page) background(m *markup) {
	m.write("<h2>How each number was made</h2>\n<dl>")
	for _, d := range p.Glossary {
		m.write("<dt>%s</dt><dd>%s</dd>\n", d.Term, d.Text)
	}
	m.write("</dl>\n\n<h2>What was run where</h2>\n<div class=\"scroll\"><table>\n")
	for _, f := range p.Facts {
		m.write("<tr><td>%s</td><td class=\"wrap\">%s</td></tr>\n", f[0], f[1])
	}
	m.write("</table></div>\n\n<h2>Raw trials</h2>\n")
	if len(p.Gates) > 0 {
		m.write(`<details><summary>Gates: what each target forwarded before it was measured</summary><div class="scroll"><table>
<tr><th>target</th><th>direction</th><th>sent</th><th>received</th><th>checked</th><th>out of order</th><th>verdict</th></tr>
`)
		for _, row := range p.Gates {
			m.write("<tr>")
			for _, cell := range row {
				m.write("<td>%s</td>", cell)
			}
			m.write("</tr>\n")
		}
		m.write("</table></div></details>")
	}
	m.write(`
<details><summary>All values, in the order of rounds</summary><div class="scroll"><table>
<tr><th>target</th><th>measure</th><th>unit</th><th>values</th></tr>
`)
	for _, v := range p.Values {
		m.write(`<tr><td>%s</td><td class="word">%s</td><td class="word">%s</td>`, v.Target, v.Name, v.Unit)
		for _, value := range v.Values {
			m.write("<td>%s</td>", value)
		}
		m.write("</tr>\n")
	}
	m.write("</table></div></details>\n")
}

func (t *pageTable) write(m *markup) {
	m.write("<div class=\"scroll\"><table>\n<tr>")
	for _, h := range t.Head {
		class := Markup("")
		if h == "verdict" {
			class = ` class="word"`
		}
		m.write("<th%s>%s</th>", class, h)
	}
	m.write("</tr>\n")
	for _, row := range t.Rows {
		m.write("<tr>")
		for _, c := range row {
			if c.Class == "" {
				m.write("<td>%s</td>", c.Text)
			} else {
				m.write(`<td class="%s">%s</td>`, c.Class, c.Text)
			}
		}
		m.write("</tr>\n")
	}
	m.write("</table></div>")
}

func (f *Figure) write(m *markup) {
	m.write("<figure><h3>%s</h3>%s", f.Title, f.SVG)
	if f.Note != "" {
		m.write("<figcaption>%s</figcaption>", f.Note)
	}
	m.write("</figure>\n")
}

package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// signs say a verdict without colour.
var signs = map[Verdict]string{Faster: "▲", Slower: "▼", Equivalent: "=", Inconclusive: "?", Invalid: "✗"}

// Document is a report as it is shown: a run with its values, and what each measure
// makes of them.
type Document struct {
	*Results
	Sections []Section
	Faults   []string   // what targets did wrong, a line each
	Warnings []string   // what else a reader must know before any number
	Gates    [][]string // what each target forwarded before it was measured: cells of a row
}

// page is what the page shows.
type page struct {
	*Run
	Title      string
	When       string
	Took       string
	Warnings   []string
	Verdicts   []verdictCount
	LimitCards []limitCard
	Key        []keyEntry
	Claims     []string
	Judged     []pageTable
	Ratios     []Figure
	Sections   []pageSection
	Facts      [][2]string
	Glossary   []Definition
	Values     []valueRow
	Gates      [][]string
	Colours    []int
}

type verdictCount struct {
	Verdict Verdict
	N       int
}

// limitCard is how many limits have a verdict.
type limitCard struct{ Class, Text, Label string }

// keyEntry says what a colour stands for.
type keyEntry struct{ Class, Text string }

type pageTable struct {
	Title, Note string
	Head        []string
	Rows        [][]pageCell
}

type pageCell struct{ Text, Class string }

type pageSection struct {
	Tables  []pageTable
	Figures []Figure
}

// valueRow is every value of a series in the order of rounds.
type valueRow struct {
	Target, Name, Unit string
	Values             []string
}

// HTML writes the report as one page that needs nothing else: no network, no
// script. Plots are SVG inside it; colours follow the reader's choice of light or
// dark.
func (d *Document) HTML(w io.Writer) error {
	p := page{Run: d.Run, Title: "uvs bench " + d.Kind, When: d.Meta.Start.Format("2006-01-02 15:04:05 MST"),
		Took: d.Meta.End.Sub(d.Meta.Start).Round(time.Second).String(), Warnings: d.allWarnings(), Claims: d.claimLines(),
		Verdicts: d.verdictCounts(), LimitCards: d.limitCards(), Key: d.key(), Facts: d.facts(), Glossary: d.definitions(), Values: d.allValues(), Gates: d.Gates,
		Ratios: drawn(d.ratioPlots()), Colours: []int{0, 1, 2, 3, 4, 5, 6, 7}}
	for _, t := range []Table{d.baselineTable(), d.limitsTable()} {
		if len(t.Rows) > 0 {
			p.Judged = append(p.Judged, t.page())
		}
	}
	for _, s := range d.Sections {
		var ps pageSection
		for _, t := range s.Tables {
			ps.Tables = append(ps.Tables, t.page())
		}
		ps.Figures = drawn(s.Figures)
		if len(ps.Tables)+len(ps.Figures) > 0 {
			p.Sections = append(p.Sections, ps)
		}
	}
	if _, err := io.WriteString(w, p.text()); err != nil {
		return fmt.Errorf("report: HTML page: %w", err)
	}
	return nil
}

// page is the table for the page: a verdict, last on a terminal, comes right after
// the first column, where it is seen however wide the table is.
func (t *Table) page() pageTable {
	p := pageTable{Title: t.Title, Note: t.Note, Head: slices.Clone(t.Head)}
	last := len(t.Head) - 1
	verdict := last > 1 && t.Head[last] == "verdict"
	if verdict {
		p.Head = slices.Insert(p.Head[:last], 1, "verdict")
	}
	for _, row := range t.Rows {
		var cells []pageCell
		for _, text := range row {
			cells = append(cells, pageCell{Text: text})
		}
		if verdict {
			v := pageCell{row[last], "wrap " + verdictClass(row[last])}
			if s := signs[Verdict(v.Text)]; s != "" {
				v.Text = s + " " + v.Text
			}
			cells = slices.Insert(cells[:last], 1, v)
		}
		p.Rows = append(p.Rows, cells)
	}
	return p
}

// verdictClass is the class of a verdict's colour: good, bad or neither.
func verdictClass(text string) string {
	word, _, _ := strings.Cut(text, ":")
	switch word {
	case "faster", "valid", "pass", "sustained":
		return "v-faster"
	case "slower", "INVALID", "FAIL", "FAIL ?", "failed", "slowed":
		return "v-slower"
	case "equivalent":
		return "v-equivalent"
	}
	return "v-inconclusive"
}

// drawn leaves out figures of nothing.
func drawn(all []Figure) []Figure {
	return slices.DeleteFunc(slices.Clone(all), func(f Figure) bool { return f.SVG == "" })
}

// key says what each colour stands for: verdicts first, then targets.
func (d *Document) key() []keyEntry {
	all := []keyEntry{
		{"v-faster", "green: faster than its baseline, valid, limit kept"},
		{"v-slower", "red: slower, INVALID, limit not kept"},
		{"v-equivalent", "blue: equivalent, within 3 %"},
		{"v-inconclusive", "grey: inconclusive or incomplete"},
	}
	for _, t := range d.targetNames() {
		all = append(all, keyEntry{d.ColourOf(t), t})
	}
	return all
}

// allWarnings are what a reader must know before any number.
func (d *Document) allWarnings() []string {
	var all []string
	switch {
	case d.Partial == "interrupted":
		all = append(all, "This report is partial: the run was interrupted.")
	case d.Partial != "":
		all = append(all, "This report is partial: "+d.Partial+".")
	}
	switch d.Noise.Grade {
	case "C":
		all = append(all, "Noise grade C: differences of less than some ten percent are chance here.")
	case "D":
		all = append(all, "Noise grade D: this machine was busy with other things. Only ratios within this run mean something; rates are lower bounds.")
	}
	all = slices.Concat(all, d.Faults, d.Warnings)
	if len(d.Claims) == 0 && d.Kind != "compare" {
		all = append(all, "No target was measured twice: nothing says how large a difference must be to mean anything.")
	}
	return append(all, d.Notes...)
}

// verdictCounts are the numbers of comparisons of each verdict.
func (d *Document) verdictCounts() []verdictCount {
	var all []verdictCount
	for _, v := range []Verdict{Faster, Slower, Equivalent, Inconclusive, Invalid} {
		n := 0
		for _, c := range d.Comparisons {
			if c.Verdict == v {
				n++
			}
		}
		if n > 0 {
			all = append(all, verdictCount{v, n})
		}
	}
	return all
}

// limitCards are the numbers of limits that were kept, not kept, and not judged.
func (d *Document) limitCards() []limitCard {
	counts := map[string]int{}
	for i := range d.Limits {
		v, _, _ := strings.Cut(d.Limits[i].Verdict(), " ")
		counts[v]++
	}
	var all []limitCard
	for _, c := range []limitCard{{"v-faster", "pass", "kept"}, {"v-slower", "FAIL", "not kept"}, {"v-inconclusive", "incomplete", "not judged"}} {
		if n := counts[c.Text]; n > 0 {
			c.Text = fmt.Sprint(n)
			all = append(all, c)
		}
	}
	return all
}

// facts are the metadata, for reproduction.
func (d *Document) facts() [][2]string {
	m := &d.Meta
	all := [][2]string{
		{"command", "uvs " + strings.Join(m.Command, " ")}, {"revision", m.Revision}, {"modified", fmt.Sprint(m.Modified)},
		{"Go", m.Go}, {"kernel", m.Kernel}, {"CPU", fmt.Sprintf("%s, %d of them", m.CPU, m.CPUs)},
		{"virtual machine", fmt.Sprint(m.Hypervisor)}, {"CPU weaknesses", m.Mitigations}, {"governor", m.Governor},
		{"memory", fmt.Sprintf("%d MiB", m.MemoryMiB)}, {"clock", d.Noise.Clock}, {"environment", strings.Join(m.Env, " ")},
	}
	for i := range d.Parts {
		p := &d.Parts[i]
		var names []string
		for _, t := range p.Targets {
			names = append(names, t.String())
		}
		all = append(all, [2]string{p.Measure, fmt.Sprintf("%s; %d rounds; %d real servers; MTU inside %d; targets %s",
			p.where(m.CPUs), p.Rounds, p.Servers, p.InsideMTU, strings.Join(names, ", "))})
	}
	return slices.DeleteFunc(all, func(f [2]string) bool { return f[1] == "" })
}

// allValues are all values of all series.
func (d *Document) allValues() []valueRow {
	var all []valueRow
	for _, s := range d.Series {
		row := valueRow{Target: s.Target, Name: s.Name, Unit: s.Unit}
		for _, v := range s.Values {
			row.Values = append(row.Values, Short(v))
		}
		all = append(all, row)
	}
	return all
}

package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed report.html.tmpl
var pageText string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"percent": percentOf,
	"short":   short,
	"class":   func(v Verdict) string { return "v-" + strings.ToLower(string(v)) },
	"sign":    func(v Verdict) string { return signs[v] },
}).Parse(pageText))

// signs say a verdict without colour.
var signs = map[Verdict]string{Faster: "▲", Slower: "▼", Equivalent: "=", Inconclusive: "?", Invalid: "✗"}

// page is what the template is given.
type page struct {
	*Report
	Title    string
	When     string
	Took     string
	Warnings []string
	Verdicts []tallied
	Claims   []string
	Forests  []drawn
	Sections []pageSection
	Facts    [][2]string
	How      []definition
	Raw      []rawSeries
	Gates    [][]string
	Colours  []int
}

type tallied struct {
	Verdict Verdict
	N       int
}

// drawn is a figure with its fields in the open, for the template.
type drawn struct {
	Title, Note string
	SVG         template.HTML
}

type pageTable struct {
	Title, Note string
	Head        []string
	Rows        [][]string
}

type pageSection struct {
	Tables  []pageTable
	Figures []drawn
}

// rawSeries is every value of a series in the order of rounds.
type rawSeries struct {
	Target, Name, Unit string
	Values             []string
}

// HTML writes the report as one page that needs nothing else: no network, no
// script. Plots are SVG inside it; colours follow the reader's choice of light or
// dark.
func (r *Report) HTML(w io.Writer) error {
	p := page{Report: r, Title: "uvs bench " + r.Kind, When: r.Meta.Start.Format("2006-01-02 15:04:05 MST"),
		Took: r.Meta.End.Sub(r.Meta.Start).Round(time.Second).String(), Warnings: r.warnings(), Claims: r.claimLines(),
		Verdicts: r.tally(), Facts: r.facts(), How: r.definitions(), Raw: r.raw(), Gates: r.gateRows(), Colours: []int{0, 1, 2, 3, 4, 5, 6, 7}}
	p.Forests = drawnOf(r.forests())
	for _, s := range r.sections() {
		var ps pageSection
		for _, t := range s.tables(r) {
			ps.Tables = append(ps.Tables, pageTable{t.title, t.note, t.head, t.rows})
		}
		ps.Figures = drawnOf(s.figures(r))
		if len(ps.Tables)+len(ps.Figures) > 0 {
			p.Sections = append(p.Sections, ps)
		}
	}
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("bench: HTML report: %w", err)
	}
	return nil
}

// drawnOf leaves out figures of nothing.
func drawnOf(all []figure) []drawn {
	var some []drawn
	for _, f := range all {
		if f.svg != "" {
			some = append(some, drawn{f.title, f.note, f.svg})
		}
	}
	return some
}

// warnings are what a reader must know before any number.
func (r *Report) warnings() []string {
	var all []string
	if r.Partial != "" {
		all = append(all, "This report is partial: the run was "+r.Partial+".")
	}
	switch r.Noise.Grade {
	case "C":
		all = append(all, "Noise grade C: differences of less than some ten percent are chance here.")
	case "D":
		all = append(all, "Noise grade D: this machine was busy with other things. Only ratios within this run mean something; rates are lower bounds.")
	}
	all = append(all, r.faults()...)
	if n, of := r.disturbed(); n > 0 {
		all = append(all, fmt.Sprintf("%d of %d trials were disturbed: a CPU was taken away for more than 2 ms at once, or for 5 %% of the window. They count all the same.", n, of))
	}
	for _, f := range r.Found {
		if f.Limited {
			all = append(all, "TG-LIMITED: a load above 80 % of what the generator can send; the target may be able to do more.")
			break
		}
	}
	if len(r.Claims) == 0 && r.Kind != "compare" {
		all = append(all, "No target was measured twice: nothing says how large a difference must be to mean anything.")
	}
	return append(all, r.Notes...)
}

func (r *Report) disturbed() (n, of int) {
	for i := range r.Trials {
		if r.Trials[i].Disturbed() {
			n++
		}
	}
	return n, len(r.Trials)
}

// tally counts the verdicts.
func (r *Report) tally() []tallied {
	var all []tallied
	for _, v := range []Verdict{Faster, Slower, Equivalent, Inconclusive, Invalid} {
		n := 0
		for _, b := range r.Beside {
			if b.Verdict == v {
				n++
			}
		}
		if n > 0 {
			all = append(all, tallied{v, n})
		}
	}
	return all
}

// facts are the metadata, for reproduction.
func (r *Report) facts() [][2]string {
	m := &r.Meta
	all := [][2]string{
		{"command", "uvs " + strings.Join(m.Command, " ")}, {"revision", m.Revision}, {"modified", fmt.Sprint(m.Modified)},
		{"Go", m.Go}, {"kernel", m.Kernel}, {"CPU", fmt.Sprintf("%s, %d of them", m.CPU, m.CPUs)},
		{"virtual machine", fmt.Sprint(m.Hypervisor)}, {"CPU weaknesses", m.Mitigations}, {"governor", m.Governor},
		{"memory", fmt.Sprintf("%d MiB", m.MemoryMiB)}, {"clock", r.Noise.Clock}, {"environment", strings.Join(m.Env, " ")},
	}
	for i := range r.Parts {
		p := &r.Parts[i]
		var names []string
		for _, t := range p.Targets {
			names = append(names, t.String())
		}
		all = append(all, [2]string{p.Measure, fmt.Sprintf("%s; %d rounds; %d real servers; MTU inside %d; targets %s",
			p.where(m.CPUs), p.Rounds, p.Servers, p.InsideMTU, strings.Join(names, ", "))})
	}
	return slices.DeleteFunc(all, func(f [2]string) bool { return f[1] == "" })
}

// raw are all values of all series.
func (r *Report) raw() []rawSeries {
	var all []rawSeries
	for _, s := range r.series() {
		raw := rawSeries{Target: s.target, Name: s.name, Unit: s.unit}
		for _, v := range s.values {
			raw.Values = append(raw.Values, short(v))
		}
		all = append(all, raw)
	}
	return all
}

// gateRows are the gate trials: what was checked, and what was wrong.
func (r *Report) gateRows() [][]string {
	var all [][]string
	for i := range r.Gates {
		g := &r.Gates[i]
		verdict := "valid"
		if !g.Valid() {
			verdict = "INVALID: " + strings.Join(g.wrong(), "; ")
		}
		all = append(all, []string{g.Target, g.Load.direction(), fmt.Sprint(g.Sent), fmt.Sprint(g.Received), fmt.Sprint(g.Checked), fmt.Sprint(g.Disorder), verdict})
	}
	return all
}

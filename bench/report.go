package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"uvs/bench/load"
	"uvs/bench/report"
)

// Report is everything about a run. All trials are kept as they were measured:
// what else a section has is made of them alone and can be made again.
type Report struct {
	report.Run

	UDPResults
	TCPResults
	SearchResults
	FairnessResults
	DisruptResults
	ConnResults
	SustainResults
	RecoveryResults
}

// section is what one kind of measurement adds to a report: its trials, which
// are kept as they were measured, and what is made of them. Each is embedded in
// Report, whose sections method lists it.
type section interface {
	// summarize makes the rows of the trials, again and again if need be.
	summarize(*Report)
	// series are the values that comparisons, the A/A run and benchstat take.
	series() []report.Series
	// tables are the results as text; none if nothing was measured.
	tables(*Report) []report.Table
	// figures are the plots of the HTML report.
	figures(*Report) []report.Figure
}

// sections are all kinds of results that a report may have, in the order in
// which they are shown.
func (r *Report) sections() []section {
	return []section{&r.UDPResults, &r.TCPResults, &r.SearchResults, &r.FairnessResults, &r.DisruptResults, &r.ConnResults,
		&r.SustainResults, &r.RecoveryResults}
}

// summarize makes all that is made of trials.
func (r *Report) summarize() {
	for _, s := range r.sections() {
		s.summarize(r)
	}
	results := r.Results()
	results.Judge()
	results.JudgeLimits(r.limitValues)
}

// Results are the values of all sections, by which reports are compared.
func (r *Report) Results() *report.Results {
	results := &report.Results{Run: &r.Run, Invalid: r.Invalid()}
	for _, s := range r.sections() {
		results.Series = append(results.Series, s.series()...)
	}
	return results
}

// document is the report as it is shown.
func (r *Report) document() *report.Document {
	d := &report.Document{Results: r.Results(), Faults: r.faults(), Warnings: r.warnings(), Gates: r.gateRows()}
	for _, s := range r.sections() {
		d.Sections = append(d.Sections, report.Section{Tables: s.tables(r), Figures: s.figures(r)})
	}
	return d
}

// Print writes the report as tables for a terminal.
func (r *Report) Print(w io.Writer) error { return r.document().Print(w) }

// HTML writes the report as one page that needs nothing else.
func (r *Report) HTML(w io.Writer) error { return r.document().HTML(w) }

// Benchstat writes all trials in Go's benchmark format, a line each.
func (r *Report) Benchstat(w io.Writer) error { return r.Results().Benchstat(w) }

// Write writes the report as indented JSON.
func (r *Report) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(r)
}

// ReadReport reads what Report.Write wrote.
func ReadReport(rd io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(rd).Decode(&r); err != nil {
		return nil, fmt.Errorf("bench: read report: %w", err)
	}
	if r.Schema != report.Schema {
		return nil, fmt.Errorf("bench: report of schema %d, this version reads %d", r.Schema, report.Schema)
	}
	return &r, nil
}

// Invalid are the names of the targets that did not forward rightly, in whatever
// measure it showed.
func (r *Report) Invalid() []string {
	var all []string
	for _, trials := range [][]load.Trial{r.Gates, r.Trials} {
		for i := range trials {
			all = appendUnless(all, trials[i].Target, trials[i].Valid())
		}
	}
	for i := range r.TCP {
		all = appendUnless(all, r.TCP[i].Target, r.TCP[i].Wrong == 0)
	}
	for i := range r.Sharing {
		all = appendUnless(all, r.Sharing[i].Target, r.Sharing[i].Verdict() != "INVALID")
	}
	for i := range r.Disruptions {
		all = appendUnless(all, r.Disruptions[i].Target, len(r.Disruptions[i].Faults) == 0)
	}
	for i := range r.Openings {
		all = appendUnless(all, r.Openings[i].Target, r.Openings[i].Valid())
	}
	for i := range r.Holdings {
		all = appendUnless(all, r.Holdings[i].Target, len(r.Holdings[i].Faults) == 0)
	}
	for i := range r.Recoveries {
		all = appendUnless(all, r.Recoveries[i].Target, len(r.Recoveries[i].Faults) == 0)
	}
	return all
}

// appendUnless adds a target once, unless it forwarded rightly.
func appendUnless(all []string, target string, valid bool) []string {
	if valid || slices.Contains(all, target) {
		return all
	}
	return append(all, target)
}

// warnings are what a reader must know before any number of UDP trials and searches.
func (r *Report) warnings() []string {
	var all []string
	disturbed := 0
	for i := range r.Trials {
		if r.Trials[i].Disturbed() {
			disturbed++
		}
	}
	if disturbed > 0 {
		all = append(all, fmt.Sprintf("%d of %d trials were disturbed: a CPU was taken away for more than 2 ms at once, or for 5 %% of the window. They count all the same.",
			disturbed, len(r.Trials)))
	}
	if slices.ContainsFunc(r.Found, func(f SearchResult) bool { return f.Limited }) {
		all = append(all, "TG-LIMITED: a load above 80 % of what the generator can send; the target may be able to do more.")
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
			verdict = "INVALID: " + strings.Join(g.Problems(), "; ")
		}
		all = append(all, []string{g.Target, g.Load.Direction(), fmt.Sprint(g.Sent), fmt.Sprint(g.Received), fmt.Sprint(g.Checked), fmt.Sprint(g.Disorder), verdict})
	}
	return all
}

// setting describes the options. Of another binary only the name is kept: a report
// names no place.
func (o *Options) setting(measure string) report.Setting {
	targets := slices.Clone(o.Targets)
	for i := range targets {
		if p := targets[i].Program; p != "" {
			targets[i].Program = filepath.Base(p)
		}
	}
	return report.Setting{
		Measure: measure, Targets: targets, Rounds: o.Rounds, Completed: map[string]int{}, Warm: o.Warm.String(), Window: o.Window.String(),
		Servers: max(o.Servers, 1), Placement: o.place(), InsideMTU: insideMTU, Baseline: o.Baseline, Limits: o.Limits,
		Wire: o.Wire.String(),
	}
}

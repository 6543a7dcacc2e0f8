// Package report makes a report of what was measured: estimates with their
// intervals, the A/A run, comparisons with a baseline or with another run, limits,
// and the pages, tables and JSON that show them.
//
// It knows series of values, rows and figures, not how they were measured: package
// bench hands it those of each measure.
//
// Imports: report stands on load alone, for the names of targets and the noise of
// the machine.
package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"uvs/bench/load"
)

// Schema is the version of the report's JSON. It grows when a reader of the older
// one would misunderstand something.
const Schema = 2

// Run is what every report has, whatever was measured.
type Run struct {
	Schema   int        `json:"schema"`
	Kind     string     `json:"kind"`               // quick, tcp, full, …
	Partial  string     `json:"partial,omitempty"`  // why not everything was measured
	Failures []Failure  `json:"failures,omitempty"` // what ended early by an error
	Meta     Meta       `json:"meta"`
	Parts    []Setting  `json:"parts"`
	Noise    load.Noise `json:"noise"`

	Claims      []Claim      `json:"claims,omitempty"` // of the A/A run
	Comparisons []Comparison `json:"beside,omitempty"` // every target beside its baseline
	Limits      []Judged     `json:"limits,omitempty"` // of a scenario
	Notes       []string     `json:"notes,omitempty"`  // targets left out, and why
}

// Failure is an error that ended a target's measurements, or those of a whole part.
type Failure struct {
	Measure string `json:"measure"`
	Target  string `json:"target,omitempty"` // empty: the whole part
	Round   int    `json:"round"`
	Error   string `json:"error"`
}

// String is "quick, nat, round 2: …".
func (f Failure) String() string {
	if f.Target == "" {
		return f.Measure + ": " + f.Error
	}
	return fmt.Sprintf("%s, %s, round %d: %s", f.Measure, f.Target, f.Round+1, f.Error)
}

// Setting is what a part of a run was to measure.
type Setting struct {
	Measure   string         `json:"measure"`
	Targets   []load.Target  `json:"targets"`
	Rounds    int            `json:"rounds"`
	Completed map[string]int `json:"rounds_done,omitempty"` // whole rounds, by target
	Warm      string         `json:"warm"`
	Window    string         `json:"window"`
	Servers   int            `json:"servers"`
	Placement Placement      `json:"placement"`
	InsideMTU int            `json:"inside_mtu"`
	Baseline  string         `json:"baseline,omitempty"`
	Limits    []Limit        `json:"limits,omitempty"`
	Wire      string         `json:"wire,omitempty"` // how the client's links were impaired
}

// Placement says on which CPU each process runs; -1 is anywhere.
type Placement struct {
	Tester    int `json:"tester"`
	Forwarder int `json:"forwarder"`
}

// where says what ran on which CPU, and over what links.
func (s *Setting) where(cpus int) string {
	if s.Wire != "" {
		plain := *s
		plain.Wire = ""
		return plain.where(cpus) + "; over a wire at the client: " + s.Wire
	}
	p := s.Placement
	if p.Tester < 0 {
		return fmt.Sprintf("%s: all processes share %d CPUs, none is pinned; trials of %s after %s", s.Measure, cpus, s.Window, s.Warm)
	}
	return fmt.Sprintf("%s: generator and sink on CPU %d, forwarders on CPU %d; trials of %s after %s",
		s.Measure, p.Tester, p.Forwarder, s.Window, s.Warm)
}

// Wires says how links were impaired, measure by measure; nothing if the kernel had them all.
func (r *Run) Wires() string {
	var all []string
	for _, s := range r.Parts {
		if s.Wire != "" {
			all = append(all, s.Measure+" over a wire ("+s.Wire+")")
		}
	}
	return strings.Join(all, ", ")
}

// Note adds a line, once.
func (r *Run) Note(s string) {
	if !slices.Contains(r.Notes, s) {
		r.Notes = append(r.Notes, s)
	}
}

// Fail notes that a target, or a whole part, ended early.
func (r *Run) Fail(f Failure) { r.Failures = append(r.Failures, f) }

// Finish says when the run ended, and whether it was interrupted. A run with
// failures is partial, too.
func (r *Run) Finish(interrupted bool) {
	var why []string
	if interrupted {
		why = append(why, "interrupted")
	}
	for _, f := range r.Failures {
		why = append(why, f.String())
	}
	r.Partial = strings.Join(why, "; ")
	r.Meta.End = time.Now().UTC()
}

// Target returns the target of a name.
func (r *Run) Target(name string) load.Target {
	for i := range r.Parts {
		for _, t := range r.Parts[i].Targets {
			if t.String() == name {
				return t
			}
		}
	}
	return load.Target{}
}

// part returns what a measure was to measure, or nil.
func (r *Run) part(measure string) *Setting {
	for i := range r.Parts {
		if r.Parts[i].Measure == measure {
			return &r.Parts[i]
		}
	}
	return nil
}

// Window is the length of a measure's trials, in words.
func (r *Run) Window(measure string) string {
	if p := r.part(measure); p != nil {
		return p.Window
	}
	return ""
}

// complete reports whether a target went through all rounds of a measure. Reports
// of older versions do not count rounds: theirs are complete unless they say that
// they are partial.
func (r *Run) complete(measure, target string) bool {
	p := r.part(measure)
	if p == nil || r.Partial == "" {
		return p != nil
	}
	return p.Completed[target] >= max(p.Rounds, 1)
}

// Null is the name of the null forwarder below a target: that of its port.
func (r *Run) Null(name string) string {
	t := r.Target(name)
	return load.Target{Method: load.Null, IO: t.IO, Profile: t.Profile, Plain: t.Plain}.String()
}

// targetNames are the names of all targets, in the order of the parts.
func (r *Run) targetNames() []string {
	var names []string
	for i := range r.Parts {
		for _, t := range r.Parts[i].Targets {
			if n := t.String(); !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names
}

// ColourOf is the class of a target's colour: the same in all figures.
func (r *Run) ColourOf(target string) string {
	return Colour(max(slices.Index(r.targetNames(), target), 0))
}

package bench

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// Print writes the report as tables for a terminal.
func (r *Report) Print(w io.Writer) error {
	fmt.Fprintln(w, r.Noise)
	for i := range r.Parts {
		fmt.Fprintln(w, r.Parts[i].where(r.Meta.CPUs))
	}
	for _, t := range r.tables() {
		if len(r.Parts) > 1 {
			fmt.Fprintf(w, "\n%s\n", t.title)
		}
		if err := t.print(w); err != nil {
			return err
		}
	}
	for _, line := range slices.Concat(r.claimLines(), r.faults(), r.Notes) {
		fmt.Fprintln(w, line)
	}
	if r.Partial != "" {
		fmt.Fprintln(w, "partial:", r.Partial)
	}
	return nil
}

// tables are those of all sections, and the verdicts.
func (r *Report) tables() []table {
	var all []table
	for _, s := range r.sections() {
		all = append(all, s.tables(r)...)
	}
	all = append(all, r.besideTable(), r.limitsTable())
	return slices.DeleteFunc(all, func(t table) bool { return len(t.rows) == 0 })
}

// number formats a value, and nothing as a dash.
func number(v float64, format string) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

func interval(e Estimate, format string) string {
	if e.N == 0 {
		return "-"
	}
	return fmt.Sprintf("["+format+", "+format+"]", e.Lo, e.Hi)
}

// where says what ran on which CPU.
func (s *Setting) where(cpus int) string {
	p := s.Placement
	if p.Tester < 0 {
		return fmt.Sprintf("%s: all processes share %d CPUs, none is pinned; trials of %s after %s", s.Measure, cpus, s.Window, s.Warm)
	}
	return fmt.Sprintf("%s: generator and sink on CPU %d, forwarders on CPU %d; trials of %s after %s",
		s.Measure, p.Tester, p.Forwarder, s.Window, s.Warm)
}

package report

import (
	"fmt"
	"io"
	"math"
	"slices"
)

// Print writes the report as tables for a terminal.
func (d *Document) Print(w io.Writer) error {
	fmt.Fprintln(w, d.Noise)
	for i := range d.Parts {
		fmt.Fprintln(w, d.Parts[i].where(d.Meta.CPUs))
	}
	for _, t := range d.tables() {
		if len(d.Parts) > 1 {
			fmt.Fprintf(w, "\n%s\n", t.Title)
		}
		if err := t.print(w); err != nil {
			return err
		}
	}
	for _, line := range slices.Concat(d.claimLines(), d.Faults, d.Notes) {
		fmt.Fprintln(w, line)
	}
	if d.Partial != "" {
		fmt.Fprintln(w, "partial:", d.Partial)
	}
	return nil
}

// tables are those of all sections, and the verdicts.
func (d *Document) tables() []Table {
	var all []Table
	for _, s := range d.Sections {
		all = append(all, s.Tables...)
	}
	all = append(all, d.baselineTable(), d.limitsTable())
	return slices.DeleteFunc(all, func(t Table) bool { return len(t.Rows) == 0 })
}

// Benchstat writes all trials in Go's benchmark format, a line each, for
// benchstat and its like.
func (r *Results) Benchstat(w io.Writer) error {
	fmt.Fprintf(w, "goos: linux\npkg: uvs/bench\ncpu: %s\n", r.Meta.CPU)
	for _, m := range r.Series {
		for _, v := range m.Values {
			if _, err := fmt.Fprintf(w, "BenchmarkForward/%s/%s 1 %g %s\n", m.Target, m.Name, v, m.Unit); err != nil {
				return err
			}
		}
	}
	return nil
}

// Number formats a value, and nothing as a dash.
func Number(v float64, format string) string {
	if math.IsNaN(v) {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

// Interval formats the interval of an estimate.
func Interval(e Estimate, format string) string {
	if e.N == 0 {
		return "-"
	}
	return fmt.Sprintf("["+format+", "+format+"]", e.Lo, e.Hi)
}

// Short prints a value with four digits and the letter of its thousands.
func Short(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case v >= 1e9:
		return fmt.Sprintf("%.4gG", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.4gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}

// percentOf is a ratio as the percentage beyond 1.
func percentOf(v float64) string { return Number(100*(v-1), "%+.1f %%") }

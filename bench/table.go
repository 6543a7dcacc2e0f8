package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// Print writes the report as a table for a terminal.
func (r *Report) Print(w io.Writer) error {
	fmt.Fprintln(w, r.Noise)
	fmt.Fprintln(w, r.where())
	if len(r.Rows) > 0 {
		if err := r.printUDP(w); err != nil {
			return err
		}
	}
	if err := r.printTCP(w); err != nil {
		return err
	}
	if err := r.printFound(w); err != nil {
		return err
	}
	for i := range r.Rows {
		if row := &r.Rows[i]; len(row.Faults) > 0 {
			fmt.Fprintf(w, "%s: %s\n", row.Target, strings.Join(row.Faults, "; "))
		}
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, n)
	}
	if r.Partial != "" {
		fmt.Fprintln(w, "partial:", r.Partial)
	}
	return nil
}

func (r *Report) printUDP(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "target\tbytes\tflows\toffered\treceived pps\tloss\tCPU ns/packet\t95 %\tto null\t95 %\tdisturbed\tverdict\t")
	for i := range r.Rows {
		r.Rows[i].print(tw)
	}
	return tw.Flush()
}

func (row *Row) print(w io.Writer) {
	offered := "max"
	if row.Load.Rate > 0 {
		offered = fmt.Sprintf("%.0fk", row.Load.Rate/1e3)
	}
	fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d of %d\t%s\t\n",
		row.Target, row.Load.SizeName(), row.Load.Flows, offered,
		number(row.Rate.Median/1e3, "%.0fk"), number(100*row.Loss.Median, "%.2f %%"),
		number(row.CPU.Median, "%.0f"), interval(row.CPU, "%.0f"),
		number(row.Ratio.Median, "%.3f"), interval(row.Ratio, "%.2f"),
		row.Disturbed, row.Rate.N, row.Verdict())
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
func (r *Report) where() string {
	p := r.Meta.Placement
	if p.Tester < 0 {
		return fmt.Sprintf("all processes share %d CPUs, none is pinned; trials of %s after %s", r.Meta.CPUs, r.Meta.Window, r.Meta.Warm)
	}
	return fmt.Sprintf("generator and sink on CPU %d, forwarders on CPU %d; trials of %s after %s",
		p.Tester, p.Forwarder, r.Meta.Window, r.Meta.Warm)
}

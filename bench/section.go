package bench

import (
	"fmt"
	"html/template"
	"io"
	"slices"
	"text/tabwriter"
)

// section is what one kind of measurement adds to a report: its trials, which
// are kept as they were measured, and what is made of them. Each is embedded in
// Report, whose sections method lists it.
type section interface {
	// summarize makes the rows of the trials, again and again if need be.
	summarize(*Report)
	// series are the values that comparisons, the A/A run and benchstat take.
	series() []series
	// tables are the results as text; none if nothing was measured.
	tables(*Report) []table
	// figures are the plots of the HTML report.
	figures(*Report) []figure
}

// table is one table of a report, on a terminal and in HTML alike.
type table struct {
	title string // a few words
	note  string // how the numbers were made, a line
	head  []string
	rows  [][]string
}

// figure is one plot of the HTML report.
type figure struct {
	title string
	note  string // how to read it
	svg   template.HTML
}

// print writes the table for a terminal.
func (t *table) print(w io.Writer) error {
	if t.note != "" {
		fmt.Fprintln(w, t.note)
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{t.head}, t.rows...) {
		for _, cell := range row {
			fmt.Fprint(tw, cell, "\t")
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// series is all values of one thing that was measured, in the order of rounds.
type series struct {
	target, name, unit string
	less               bool // is better
	rounds             []int
	values             []float64
}

// collection gathers series value by value.
type collection []series

// add adds a value to the series of a target and name. 0 and less is no value,
// unless it is a share.
func (c *collection) add(s series, round int, v float64) {
	if !(v > 0) && !(v == 0 && s.unit == shareUnit) {
		return
	}
	i := slices.IndexFunc(*c, func(m series) bool { return m.target == s.target && m.name == s.name && m.unit == s.unit })
	if i < 0 {
		*c = append(*c, s)
		i = len(*c) - 1
	}
	at := &(*c)[i]
	at.rounds, at.values = append(at.rounds, round), append(at.values, v)
}

// shareUnit is the unit of shares from 0 to 1, of which 0 is one.
const shareUnit = "share"

// compared are the values as they are compared: by their ratios, but shares by
// how far they are apart, which is the ratio of what they make of one.
func (s *series) compared() []float64 {
	if s.unit != shareUnit {
		return s.values
	}
	var all []float64
	for _, v := range s.values {
		all = append(all, 1+v)
	}
	return all
}

// byRound are the values as they are compared, by round, the last where a round has several.
func (s *series) byRound() map[int]float64 {
	m := map[int]float64{}
	for i, v := range s.compared() {
		if i < len(s.rounds) {
			m[s.rounds[i]] = v
		}
	}
	return m
}

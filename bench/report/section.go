package report

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// Section is what one kind of measurement shows: nothing if it was not made.
type Section struct {
	Tables  []Table
	Figures []Figure
}

// Table is one table of a report, on a terminal and in HTML alike.
type Table struct {
	Title string // a few words
	Note  string // how the numbers were made, a line
	Head  []string
	Rows  [][]string
}

// Figure is one plot of the HTML report. One without an image is not shown.
type Figure struct {
	Title string
	Note  string // how to read it
	SVG   Markup
}

// print writes the table for a terminal.
func (t *Table) print(w io.Writer) error {
	if t.Note != "" {
		fmt.Fprintln(w, t.Note)
	}
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{t.Head}, t.Rows...) {
		for _, cell := range row {
			fmt.Fprint(tw, cell, "\t")
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// Series is all values of one thing that was measured, in the order of rounds.
type Series struct {
	Target, Name, Unit string
	Less               bool // is better
	Rounds             []int
	Values             []float64
}

// Collection gathers series value by value.
type Collection []Series

// Add adds a value to the series of a target and name. 0 and less is no value,
// unless it is a share.
func (c *Collection) Add(s Series, round int, v float64) {
	if !(v > 0) && !(v == 0 && s.Unit == ShareUnit) {
		return
	}
	i := slices.IndexFunc(*c, func(m Series) bool { return m.Target == s.Target && m.Name == s.Name && m.Unit == s.Unit })
	if i < 0 {
		*c = append(*c, s)
		i = len(*c) - 1
	}
	at := &(*c)[i]
	at.Rounds, at.Values = append(at.Rounds, round), append(at.Values, v)
}

// ShareUnit is the unit of shares from 0 to 1, of which 0 is one.
const ShareUnit = "share"

// compared are the values as they are compared: by their ratios, but shares by
// how far they are apart, which is the ratio of what they make of one.
func (s *Series) compared() []float64 {
	if s.Unit != ShareUnit {
		return s.Values
	}
	var all []float64
	for _, v := range s.Values {
		all = append(all, 1+v)
	}
	return all
}

// byRound are the values as they are compared, by round, the last where a round has several.
func (s *Series) byRound() map[int]float64 {
	m := map[int]float64{}
	for i, v := range s.compared() {
		if i < len(s.Rounds) {
			m[s.Rounds[i]] = v
		}
	}
	return m
}

// find returns the series of a target that measures the same as another, or nil.
func find(all []Series, target string, like *Series) *Series {
	i := slices.IndexFunc(all, func(s Series) bool {
		return s.Target == target && s.Name == like.Name && s.Unit == like.Unit
	})
	if i < 0 {
		return nil
	}
	return &all[i]
}

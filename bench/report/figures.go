package report

import (
	"fmt"
	"strings"
)

// Bars draws the medians of all series of a name and unit, a bar for each target.
func (r *Results) Bars(title, note, name, unit string, scale float64, format string) Figure {
	p := barPlot{title: title, format: func(v float64) string { return fmt.Sprintf(format, v) }}
	for _, s := range r.Series {
		if s.Name == name && s.Unit == unit {
			p.add(s.Target, r.ColourOf(s.Target), s.Values, scale)
		}
	}
	return p.figure(note)
}

// Groups gathers values under labels in the order in which they come.
type Groups struct {
	Labels []string
	Values map[string][]float64
}

// Add adds a value to a label's.
func (g *Groups) Add(label string, v float64) {
	if g.Values == nil {
		g.Values = map[string][]float64{}
	}
	if g.Values[label] == nil {
		g.Labels = append(g.Labels, label)
	}
	g.Values[label] = append(g.Values[label], v)
}

// Bars draws one bar for each label, with a dot for each value.
func (g *Groups) Bars(title, note, format string, scale float64) Figure {
	p := barPlot{title: title, format: func(v float64) string { return fmt.Sprintf(format, v) }}
	for i, l := range g.Labels {
		p.add(l, Colour(i), g.Values[l], scale)
	}
	return p.figure(note)
}

func (p *barPlot) add(label, class string, values []float64, scale float64) {
	b := bar{label: label, value: NewEstimate(values).Scaled(scale), class: class}
	for _, v := range values {
		b.dots = append(b.dots, v*scale)
	}
	p.bars = append(p.bars, b)
}

func (p *barPlot) figure(note string) Figure {
	if len(p.bars) == 0 {
		return Figure{}
	}
	return Figure{Title: p.title, Note: note, SVG: p.draw()}
}

// ratioPlots are the ratios to the baseline, one figure for each measure.
func (r *Run) ratioPlots() []Figure {
	var names []string
	by := map[string][]Comparison{}
	for _, c := range r.Comparisons {
		if by[c.Measure] == nil {
			names = append(names, c.Measure)
		}
		by[c.Measure] = append(by[c.Measure], c)
	}
	var all []Figure
	for _, n := range names {
		p := barPlot{title: n + " beside the baseline", base: 1, format: func(v float64) string { return fmt.Sprintf("%.2f ×", v) }}
		baselines := map[string]bool{}
		for _, c := range by[n] {
			p.bars = append(p.bars, bar{label: c.Target, value: c.Better, claim: min(c.Claim, 10), class: "v-" + strings.ToLower(string(c.Verdict))})
			baselines[c.Baseline] = true
		}
		note := "Times as good as the baseline"
		if len(baselines) == 1 {
			note = "Times as good as " + by[n][0].Baseline
		}
		all = append(all, p.figure(note+": right of the line is better. The mark has the colour of its verdict; the bar is the 95 % interval of the median over the rounds; "+
			"the shaded band is what the A/A run says may not be claimed."))
	}
	return all
}

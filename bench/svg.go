package bench

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// drawing is an SVG image under way. It names no colours: the page's style sheet
// does, for light and dark alike.
type drawing struct {
	strings.Builder
	width, height float64
}

// plotWidth is the width of every plot in units, which are pixels where the page
// is wide enough.
const plotWidth = 760

func newDrawing(height float64) *drawing { return &drawing{width: plotWidth, height: height} }

// done returns the image with what it shows in words, for those who do not see it.
func (d *drawing) done(label string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s">%s</svg>`,
		d.width, d.height, html.EscapeString(label), d.String()))
}

func (d *drawing) line(x1, y1, x2, y2 float64, class string) {
	fmt.Fprintf(d, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

func (d *drawing) rect(x, y, w, h float64, class string) {
	fmt.Fprintf(d, `<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>`, class, x, y, max(w, 0), max(h, 0))
}

func (d *drawing) dot(x, y, r float64, class string) {
	fmt.Fprintf(d, `<circle class="%s" cx="%.1f" cy="%.1f" r="%.1f"/>`, class, x, y, r)
}

// text writes at a base line; anchor is start, middle or end.
func (d *drawing) text(x, y float64, anchor, class, s string) {
	fmt.Fprintf(d, `<text class="%s" x="%.1f" y="%.1f" text-anchor="%s">%s</text>`, class, x, y, anchor, html.EscapeString(s))
}

func (d *drawing) path(points []point, class string) {
	var b strings.Builder
	for i, p := range points {
		fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(i, 1)], p.x, p.y)
	}
	fmt.Fprintf(d, `<path class="%s" d="%s"/>`, class, b.String())
}

type point struct{ x, y float64 }

// axis maps values to positions.
type axis struct {
	label    string
	log      bool
	lo, hi   float64 // values at its ends
	from, to float64 // positions there
	format   func(float64) string
	ticks    []float64 // nil: round numbers
}

// at is the position of a value; what lies beyond an end is drawn at that end.
func (a *axis) at(v float64) float64 {
	f := (v - a.lo) / (a.hi - a.lo)
	if a.log {
		f = math.Log(v/a.lo) / math.Log(a.hi/a.lo)
	}
	return a.from + min(max(f, 0), 1)*(a.to-a.from)
}

// marks are the values at which the axis is marked: round numbers, some five of
// them, or the powers of ten.
func (a *axis) marks() []float64 {
	if a.ticks != nil {
		return a.ticks
	}
	var all []float64
	if a.log {
		for v := math.Pow(10, math.Ceil(math.Log10(a.lo)-1e-9)); v <= a.hi*1.0001; v *= 10 {
			all = append(all, v)
		}
		return all
	}
	step := roundStep((a.hi - a.lo) / 5)
	for i := math.Ceil(a.lo/step - 1e-9); i*step <= a.hi+step*1e-6; i++ {
		all = append(all, i*step+0) // +0: no mark reads -0
	}
	return all
}

// roundStep is the next larger of 1, 2 and 5 with some power of ten.
func roundStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if v <= f*p*1.0001 {
			return f * p
		}
	}
	return 10 * p
}

// span makes an axis hold values: from zero, unless it is logarithmic or free.
func (a *axis) span(values []float64, free bool) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) && (v > 0 || !a.log) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	switch {
	case lo > hi:
		lo, hi = 0.9, 1.1
	case a.log:
		lo, hi = math.Pow(10, math.Floor(math.Log10(lo))), math.Pow(10, math.Ceil(math.Log10(hi)))
	case free:
		pad := max(0.08*(hi-lo), 0.01*max(math.Abs(lo), math.Abs(hi)), 1e-9) // marks of equals must differ
		lo, hi = lo-pad, hi+pad
	default:
		lo, hi = min(lo, 0), hi*1.05
	}
	if hi <= lo {
		hi = lo + max(math.Abs(lo), 1)
		if a.log {
			hi = 10 * lo
		}
	}
	a.lo, a.hi = lo, hi
}

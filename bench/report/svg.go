package report

import (
	"fmt"
	"html"
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
func (d *drawing) done(label string) Markup {
	return Markup(fmt.Sprintf(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s">%s</svg>`,
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

func (d *drawing) path(points []Point, class string) {
	var b strings.Builder
	for i, p := range points {
		fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(i, 1)], p.X, p.Y)
	}
	fmt.Fprintf(d, `<path class="%s" d="%s"/>`, class, b.String())
}

// Point is a point of a curve.
type Point struct{ X, Y float64 }

// Axis maps values to positions.
type Axis struct {
	Label  string
	Log    bool
	Lo, Hi float64 // values at its ends; equal: those of what is drawn
	Format func(float64) string
	Ticks  []float64 // nil: round numbers

	from, to float64 // positions of the ends
}

// at is the position of a value; what lies beyond an end is drawn at that end.
func (a *Axis) at(v float64) float64 {
	f := (v - a.Lo) / (a.Hi - a.Lo)
	if a.Log {
		f = math.Log(v/a.Lo) / math.Log(a.Hi/a.Lo)
	}
	return a.from + min(max(f, 0), 1)*(a.to-a.from)
}

// marks are the values at which the axis is marked: round numbers, some five of
// them, or the powers of ten.
func (a *Axis) marks() []float64 {
	if a.Ticks != nil {
		return a.Ticks
	}
	var all []float64
	if a.Log {
		for v := math.Pow(10, math.Ceil(math.Log10(a.Lo)-1e-9)); v <= a.Hi*1.0001; v *= 10 {
			all = append(all, v)
		}
		return all
	}
	step := roundStep((a.Hi - a.Lo) / 5)
	for i := math.Ceil(a.Lo/step - 1e-9); i*step <= a.Hi+step*1e-6; i++ {
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
func (a *Axis) span(values []float64, free bool) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) && (v > 0 || !a.Log) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	switch {
	case lo > hi:
		lo, hi = 0.9, 1.1
	case a.Log:
		lo, hi = math.Pow(10, math.Floor(math.Log10(lo))), math.Pow(10, math.Ceil(math.Log10(hi)))
	case free:
		pad := max(0.08*(hi-lo), 0.01*max(math.Abs(lo), math.Abs(hi)), 1e-9) // marks of equals must differ
		lo, hi = lo-pad, hi+pad
	default:
		lo, hi = min(lo, 0), hi*1.05
	}
	if hi <= lo {
		hi = lo + max(math.Abs(lo), 1)
		if a.Log {
			hi = 10 * lo
		}
	}
	a.Lo, a.Hi = lo, hi
}

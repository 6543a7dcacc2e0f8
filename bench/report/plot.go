package report

import (
	"fmt"
)

// bar is one row of a bar plot: a median, its interval, and every trial.
type bar struct {
	label string
	value Estimate
	dots  []float64
	claim float64 // of a ratio: differences from 1 up to this are not claimed
	class string  // of its colour
}

// barPlot draws horizontal bars from zero, or, where base is not 0, marks on
// both sides of a line there.
type barPlot struct {
	title  string
	format func(float64) string
	base   float64
	bars   []bar
}

const (
	labelWidth = 190
	valueWidth = 90
	rowHeight  = 24
	plotTop    = 8
	axisHeight = 30
)

func (p *barPlot) draw() Markup {
	bottom := plotTop + rowHeight*float64(len(p.bars))
	d := newDrawing(bottom + axisHeight)
	x := Axis{from: labelWidth, to: plotWidth - valueWidth, Format: p.format}
	x.span(p.reach(), p.base != 0)
	for _, v := range x.marks() {
		d.line(x.at(v), plotTop, x.at(v), bottom, "grid")
		d.text(x.at(v), bottom+16, "middle", "tick", p.format(v))
	}
	if p.base != 0 {
		d.line(x.at(p.base), plotTop, x.at(p.base), bottom, "base")
	}
	for i := range p.bars {
		p.row(d, &x, &p.bars[i], plotTop+rowHeight*(float64(i)+0.5))
	}
	return d.done(p.title)
}

// reach are all values that the axis must hold. A trial far off is drawn at the
// edge of it.
func (p *barPlot) reach() []float64 {
	var all []float64
	for _, b := range p.bars {
		all = append(all, b.value.Median, b.value.Lo, b.value.Hi)
	}
	if p.base != 0 {
		all = append(all, p.base)
	}
	return all
}

func (p *barPlot) row(d *drawing, x *Axis, b *bar, y float64) {
	d.text(labelWidth-8, y+4, "end", "label", b.label)
	if b.value.N == 0 {
		d.text(labelWidth+4, y+4, "start", "tick", "no value")
		return
	}
	if p.base == 0 {
		d.rect(x.from, y-7, x.at(b.value.Median)-x.from, 14, "bar "+b.class)
	} else {
		d.rect(x.at(p.base*(1-b.claim)), y-10, x.at(p.base*(1+b.claim))-x.at(p.base*(1-b.claim)), 20, "claim")
		d.dot(x.at(b.value.Median), y, 5, "mark "+b.class)
	}
	for _, v := range b.dots {
		d.dot(x.at(v), y, 1.8, "dot")
	}
	lo, hi := x.at(b.value.Lo), x.at(b.value.Hi)
	d.line(lo, y, hi, y, "whisker")
	d.line(lo, y-4, lo, y+4, "whisker")
	d.line(hi, y-4, hi, y+4, "whisker")
	d.text(plotWidth-4, y+4, "end", "value", p.format(b.value.Median))
}

// Curve is one line of a line plot, or a cloud of points.
type Curve struct {
	Label  string
	Points []Point // in values
	Class  string  // of its colour
	Cloud  bool    // the points are not joined
}

// LinePlot draws curves over two axes.
type LinePlot struct {
	Title  string
	X, Y   Axis
	Curves []Curve
}

const (
	lineTop    = 22
	lineHeight = 300
	leftWidth  = 64
	rightWidth = 28
	legendRow  = 18
)

// Draw returns the plot, or nothing if it has no curves.
func (p *LinePlot) Draw() Markup {
	if len(p.Curves) == 0 {
		return ""
	}
	bottom := float64(lineTop + lineHeight)
	d := newDrawing(bottom + axisHeight + 18 + legendRow*float64((len(p.Curves)+3)/4))
	p.spans(bottom)
	for _, v := range p.X.marks() {
		d.line(p.X.at(v), lineTop, p.X.at(v), bottom, "grid")
		d.text(p.X.at(v), bottom+16, "middle", "tick", p.X.Format(v))
	}
	for _, v := range p.Y.marks() {
		d.line(leftWidth, p.Y.at(v), plotWidth-rightWidth, p.Y.at(v), "grid")
		d.text(leftWidth-6, p.Y.at(v)+4, "end", "tick", p.Y.Format(v))
	}
	d.text((leftWidth+plotWidth)/2, bottom+32, "middle", "tick", p.X.Label)
	d.text(leftWidth, lineTop-8, "start", "tick unit", p.Y.Label)
	for i := range p.Curves {
		p.drawCurve(d, i)
		lx, ly := float64(leftWidth+(i%4)*175), bottom+axisHeight+22+legendRow*float64(i/4)
		d.rect(lx, ly-9, 12, 10, "bar "+p.Curves[i].Class)
		d.text(lx+18, ly, "start", "label", p.Curves[i].Label)
	}
	return d.done(p.Title)
}

// spans makes the axes hold all points.
func (p *LinePlot) spans(bottom float64) {
	var xs, ys []float64
	for _, c := range p.Curves {
		for _, pt := range c.Points {
			xs, ys = append(xs, pt.X), append(ys, pt.Y)
		}
	}
	p.X.from, p.X.to = leftWidth, plotWidth-rightWidth
	p.Y.from, p.Y.to = bottom, lineTop
	if p.X.Hi == p.X.Lo {
		p.X.span(xs, false)
	}
	if p.Y.Hi == p.Y.Lo {
		p.Y.span(ys, false)
	}
}

func (p *LinePlot) drawCurve(d *drawing, i int) {
	c := &p.Curves[i]
	var at []Point
	for _, pt := range c.Points {
		at = append(at, Point{p.X.at(pt.X), p.Y.at(pt.Y)})
	}
	if !c.Cloud && len(at) > 1 {
		class := "curve " + c.Class
		if i >= colours {
			class += " dashed"
		}
		d.path(at, class)
	}
	for _, pt := range at {
		d.dot(pt.X, pt.Y, 3, "mark "+c.Class)
	}
}

// colours is how many the style sheet knows.
const colours = 8

// Colour is the class of the i-th target.
func Colour(i int) string { return fmt.Sprintf("c%d", i%colours) }

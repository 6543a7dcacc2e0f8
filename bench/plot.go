package bench

import (
	"fmt"
	"html/template"
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

func (p *barPlot) draw() template.HTML {
	bottom := plotTop + rowHeight*float64(len(p.bars))
	d := newDrawing(bottom + axisHeight)
	x := axis{from: labelWidth, to: plotWidth - valueWidth, format: p.format}
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

func (p *barPlot) row(d *drawing, x *axis, b *bar, y float64) {
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

// curve is one line of a line plot, or a cloud of points.
type curve struct {
	label  string
	points []point // in values
	class  string  // of its colour
	cloud  bool
}

// linePlot draws curves over two axes.
type linePlot struct {
	title  string
	x, y   axis
	curves []curve
}

const (
	lineTop    = 22
	lineHeight = 300
	leftWidth  = 64
	rightWidth = 28
	legendRow  = 18
)

func (p *linePlot) draw() template.HTML {
	bottom := float64(lineTop + lineHeight)
	d := newDrawing(bottom + axisHeight + 18 + legendRow*float64((len(p.curves)+3)/4))
	p.spans(bottom)
	for _, v := range p.x.marks() {
		d.line(p.x.at(v), lineTop, p.x.at(v), bottom, "grid")
		d.text(p.x.at(v), bottom+16, "middle", "tick", p.x.format(v))
	}
	for _, v := range p.y.marks() {
		d.line(leftWidth, p.y.at(v), plotWidth-rightWidth, p.y.at(v), "grid")
		d.text(leftWidth-6, p.y.at(v)+4, "end", "tick", p.y.format(v))
	}
	d.text((leftWidth+plotWidth)/2, bottom+32, "middle", "tick", p.x.label)
	d.text(leftWidth, lineTop-8, "start", "tick unit", p.y.label)
	for i := range p.curves {
		p.curve(d, i)
		lx, ly := float64(leftWidth+(i%4)*175), bottom+axisHeight+22+legendRow*float64(i/4)
		d.rect(lx, ly-9, 12, 10, "bar "+p.curves[i].class)
		d.text(lx+18, ly, "start", "label", p.curves[i].label)
	}
	return d.done(p.title)
}

// spans makes the axes hold all points.
func (p *linePlot) spans(bottom float64) {
	var xs, ys []float64
	for _, c := range p.curves {
		for _, pt := range c.points {
			xs, ys = append(xs, pt.x), append(ys, pt.y)
		}
	}
	p.x.from, p.x.to = leftWidth, plotWidth-rightWidth
	p.y.from, p.y.to = bottom, lineTop
	if p.x.hi == p.x.lo {
		p.x.span(xs, false)
	}
	if p.y.hi == p.y.lo {
		p.y.span(ys, false)
	}
}

func (p *linePlot) curve(d *drawing, i int) {
	c := &p.curves[i]
	var at []point
	for _, pt := range c.points {
		at = append(at, point{p.x.at(pt.x), p.y.at(pt.y)})
	}
	if !c.cloud && len(at) > 1 {
		class := "curve " + c.class
		if i >= colours {
			class += " dashed"
		}
		d.path(at, class)
	}
	for _, pt := range at {
		d.dot(pt.x, pt.y, 3, "mark "+c.class)
	}
}

// colours is how many the style sheet knows.
const colours = 8

// colour is the class of the i-th target.
func colour(i int) string { return fmt.Sprintf("c%d", i%colours) }

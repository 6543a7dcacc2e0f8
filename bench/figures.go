package bench

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// bars draws the medians of all series of a name and unit, a bar for each target.
func (r *Report) bars(title, note, name, unit string, scale float64, format string) figure {
	p := barPlot{title: title, format: func(v float64) string { return fmt.Sprintf(format, v) }}
	for _, s := range r.series() {
		if s.name != name || s.unit != unit {
			continue
		}
		b := bar{label: s.target, value: estimate(s.values).scaled(scale), class: r.colourOf(s.target)}
		for _, v := range s.values {
			b.dots = append(b.dots, v*scale)
		}
		p.bars = append(p.bars, b)
	}
	if len(p.bars) == 0 {
		return figure{}
	}
	return figure{title: title, note: note, svg: p.draw()}
}

// forests are the ratios to the baseline, one figure for each measure.
func (r *Report) forests() []figure {
	var names []string
	by := map[string][]Beside{}
	for _, b := range r.Beside {
		if by[b.Measure] == nil {
			names = append(names, b.Measure)
		}
		by[b.Measure] = append(by[b.Measure], b)
	}
	var all []figure
	for _, n := range names {
		p := barPlot{title: n + " beside the baseline", base: 1, format: func(v float64) string { return fmt.Sprintf("%.2f ×", v) }}
		baselines := map[string]bool{}
		for _, b := range by[n] {
			p.bars = append(p.bars, bar{label: b.Target, value: b.Better, claim: min(b.Claim, 10), class: "v-" + strings.ToLower(string(b.Verdict))})
			baselines[b.Baseline] = true
		}
		note := "Times as good as the baseline"
		if len(baselines) == 1 {
			note = "Times as good as " + by[n][0].Baseline
		}
		all = append(all, figure{title: p.title, note: note + ": right of the line is better. The bar is the 95 % interval of the median over the rounds; " +
			"the shaded band is what the A/A run says may not be claimed.", svg: p.draw()})
	}
	return all
}

// colourOf is the class of a target's colour: the same in all figures.
func (r *Report) colourOf(target string) string {
	var names []string
	for i := range r.Parts {
		for _, t := range r.Parts[i].Targets {
			if n := t.String(); !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return colour(max(slices.Index(names, target), 0))
}

// loads are the different loads of the rows.
func (f *forwarding) loads() []Load {
	var all []Load
	for _, r := range f.Rows {
		if !slices.Contains(all, r.Load) {
			all = append(all, r.Load)
		}
	}
	return all
}

func (f *forwarding) figures(r *Report) []figure {
	var all []figure
	for _, l := range f.loads() {
		of := fmt.Sprintf("%s, %s bytes, %d flows, %s offered", l.direction(), l.SizeName(), l.Flows, l.Offered())
		all = append(all,
			r.bars("CPU time a packet: "+of, "Less is better. Bar: median; line: its 95 % interval; dots: single trials.", l.String()+"/cpu", "ns/pkt", 1, "%.0f ns"),
			r.bars("Packets a second: "+of, "More is better. What arrived at the other side, with generator and sink on the same machine.", l.String(), "pkt/s", 1e-3, "%.0f k"))
	}
	return all
}

func (r *connecting) figures(rep *Report) []figure {
	var all []figure
	for _, k := range Kinds {
		rate, cost := rep.bars("TCP, "+string(k)+" a second", "More is better.", string(k), "ops/s", 1, "%.0f"),
			rep.bars("CPU time of each "+string(k), "Less is better; kernel forwarding has no process to measure.", string(k)+"/cpu", "ns/op", 1e-3, "%.1f µs")
		if k == Bulk {
			rate = rep.bars("TCP, bulk", "More is better.", string(k), "B/s", 8e-9, "%.2f Gbit/s")
			cost = rep.bars("CPU time of each GB", "Less is better; kernel forwarding has no process to measure.", string(k)+"/cpu", "ns/op", 1, "%.2f s")
		}
		all = append(all, rate, cost)
	}
	return all
}

func (r *searching) figures(rep *Report) []figure {
	if len(r.Found) == 0 {
		return nil
	}
	var all []figure
	for _, l := range r.loads() {
		of := l.SizeName() + " bytes"
		for _, g := range []string{"PDR", "NDR"} {
			all = append(all, rep.bars(g+", "+of, "The highest load that meets the goal.", g+"/"+l.String(), "pkt/s", 1e-3, "%.0f k"))
		}
		all = append(all, r.lossPlot(rep, l, of))
		for _, share := range latencyShares {
			all = append(all, r.latencyPlot(rep, l, share, of))
		}
	}
	return all
}

func (r *searching) loads() []Load {
	var all []Load
	for _, f := range r.Found {
		if !slices.Contains(all, f.Load) {
			all = append(all, f.Load)
		}
	}
	return all
}

// lossPlot shows every trial of the searches: what was offered and what was lost
// of it.
func (r *searching) lossPlot(rep *Report, l Load, of string) figure {
	p := linePlot{title: "Loss at each load, " + of}
	p.x = axis{label: "offered, thousand frames a second", format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
	p.y = axis{label: "lost, %", log: true, lo: 0.001, hi: 100, format: func(v float64) string { return fmt.Sprintf("%g", v) }}
	for i := range rep.Trials {
		t := &rep.Trials[i]
		if t.Measure != "search" || t.Load.Rate == 0 || t.Load.Size != l.Size || t.Load.Flows != l.Flows {
			continue
		}
		at := slices.IndexFunc(p.curves, func(c curve) bool { return c.label == t.Target })
		if at < 0 {
			at = len(p.curves)
			p.curves = append(p.curves, curve{label: t.Target, class: rep.colourOf(t.Target), cloud: true})
		}
		p.curves[at].points = append(p.curves[at].points, point{t.Load.Rate / 1e3, max(100*t.Loss(), 0.001)})
	}
	if len(p.curves) == 0 {
		return figure{}
	}
	return figure{title: p.title, note: "One point a trial. Trials without any loss are at the foot, at 0.001 %. The PDR allows 0.5 %.", svg: p.draw()}
}

// latencyPlot shows the percentiles at one share of the PDR. Each nine of a
// percentile has the same width.
func (r *searching) latencyPlot(rep *Report, l Load, share float64, of string) figure {
	at := fmt.Sprintf("at %.0f %% of the PDR", 100*share)
	if share == 0 {
		at = "at as good as no load"
	}
	p := linePlot{title: "One-way latency " + at + ", " + of}
	p.x = axis{label: "percentile", log: true, lo: 1, hi: 1, format: percentile}
	p.y = axis{label: "µs", log: true, format: func(v float64) string { return fmt.Sprintf("%g", v) }}
	for _, f := range r.Found {
		for _, pts := range f.Latency {
			if f.Load != l || pts.Share != share {
				continue
			}
			c := curve{label: f.Target, class: rep.colourOf(f.Target)}
			for _, q := range pts.quantiles() {
				x := 100 / (100 - q.Percentile)
				c.points = append(c.points, point{x, q.Micros})
				p.x.hi = max(p.x.hi, math.Pow(10, math.Ceil(math.Log10(x)-1e-9)))
			}
			if len(c.points) > 0 {
				p.curves = append(p.curves, c)
			}
		}
	}
	if len(p.curves) == 0 {
		return figure{}
	}
	p.x.hi = max(p.x.hi, 10)
	p.x.ticks = []float64{1, 2}
	for v := 10.0; v <= p.x.hi; v *= 10 {
		p.x.ticks = append(p.x.ticks, v)
	}
	return figure{title: p.title, note: "From the planned time of each frame to its arrival. A percentile is drawn only with ten samples beyond it.", svg: p.draw()}
}

// percentile is the label of 1/(1-q).
func percentile(x float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.4f", 100-100/x), "0"), ".") + " %"
}

// quantiles are those of the spectrum, or of the few that are always kept.
func (p *Points) quantiles() []Quantile {
	if len(p.Spectrum) > 0 {
		return p.Spectrum
	}
	var all []Quantile
	for _, q := range []Quantile{{50, p.P50}, {90, p.P90}, {99, p.P99}, {99.9, p.P999}} {
		if q.Micros > 0 {
			all = append(all, q)
		}
	}
	slices.SortFunc(all, func(a, b Quantile) int { return cmp.Compare(a.Percentile, b.Percentile) })
	return all
}

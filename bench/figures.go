package bench

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"uvs/bench/load"
	"uvs/bench/report"
)

// loads are the different loads of the rows.
func (f *UDPResults) loads() []load.Load {
	var all []load.Load
	for _, r := range f.Rows {
		if !slices.Contains(all, r.Load) {
			all = append(all, r.Load)
		}
	}
	return all
}

func (f *UDPResults) figures(r *Report) []report.Figure {
	var all []report.Figure
	for _, l := range f.loads() {
		of := fmt.Sprintf("%s, %s bytes, %d flows, %s offered", l.Direction(), l.SizeName(), l.Flows, l.Offered())
		all = append(all,
			r.Results().Bars("CPU time a packet: "+of, "Less is better. Bar: median; line: its 95 % interval; dots: single trials.", l.String()+"/cpu", "ns/pkt", 1, "%.0f ns"),
			r.Results().Bars("Packets a second: "+of, "More is better. What arrived at the other side, with generator and sink on the same machine.", l.String(), "pkt/s", 1e-3, "%.0f k"))
	}
	return all
}

func (r *TCPResults) figures(rep *Report) []report.Figure {
	var all []report.Figure
	for _, k := range load.Kinds {
		rate, cost := rep.Results().Bars("TCP, "+string(k)+" a second", "More is better.", string(k), "ops/s", 1, "%.0f"),
			rep.Results().Bars("CPU time of each "+string(k), "Less is better; kernel forwarding has no process to measure.", string(k)+"/cpu", "ns/op", 1e-3, "%.1f µs")
		if k == load.Bulk {
			rate = rep.Results().Bars("TCP, bulk", "More is better.", string(k), "B/s", 8e-9, "%.2f Gbit/s")
			cost = rep.Results().Bars("CPU time of each GB", "Less is better; kernel forwarding has no process to measure.", string(k)+"/cpu", "ns/op", 1, "%.2f s")
		}
		all = append(all, rate, cost)
	}
	return all
}

func (r *SearchResults) figures(rep *Report) []report.Figure {
	if len(r.Found) == 0 {
		return nil
	}
	var all []report.Figure
	for _, l := range r.loads() {
		of := l.SizeName() + " bytes"
		for _, g := range []string{"PDR", "NDR"} {
			all = append(all, rep.Results().Bars(g+", "+of, "The highest load that meets the goal.", g+"/"+l.String(), "pkt/s", 1e-3, "%.0f k"))
		}
		all = append(all, r.lossPlot(rep, l, of))
		for _, share := range latencyShares {
			all = append(all, r.latencyPlot(rep, l, share, of))
		}
	}
	return all
}

func (r *SearchResults) loads() []load.Load {
	var all []load.Load
	for _, f := range r.Found {
		if !slices.Contains(all, f.Load) {
			all = append(all, f.Load)
		}
	}
	return all
}

// lossPlot shows every trial of the searches: what was offered and what was lost
// of it.
func (r *SearchResults) lossPlot(rep *Report, l load.Load, of string) report.Figure {
	p := report.LinePlot{Title: "Loss at each load, " + of}
	p.X = report.Axis{Label: "offered, thousand frames a second", Format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
	p.Y = report.Axis{Label: "lost, %", Log: true, Lo: 0.001, Hi: 100, Format: func(v float64) string { return fmt.Sprintf("%g", v) }}
	for i := range rep.Trials {
		t := &rep.Trials[i]
		if t.Measure != "search" || t.Load.Rate == 0 || t.Load.Size != l.Size || t.Load.Flows != l.Flows {
			continue
		}
		at := slices.IndexFunc(p.Curves, func(c report.Curve) bool { return c.Label == t.Target })
		if at < 0 {
			at = len(p.Curves)
			p.Curves = append(p.Curves, report.Curve{Label: t.Target, Class: rep.ColourOf(t.Target), Cloud: true})
		}
		p.Curves[at].Points = append(p.Curves[at].Points, report.Point{X: t.Load.Rate / 1e3, Y: max(100*t.Loss(), 0.001)})
	}
	if len(p.Curves) == 0 {
		return report.Figure{}
	}
	return report.Figure{Title: p.Title, Note: "One point a trial. Trials without any loss are at the foot, at 0.001 %. The PDR allows 0.5 %.", SVG: p.Draw()}
}

// latencyPlot shows the percentiles at one share of the PDR. Each nine of a
// percentile has the same width.
func (r *SearchResults) latencyPlot(rep *Report, l load.Load, share float64, of string) report.Figure {
	at := fmt.Sprintf("at %.0f %% of the PDR", 100*share)
	if share == 0 {
		at = "at as good as no load"
	}
	p := report.LinePlot{Title: "One-way latency " + at + ", " + of}
	p.X = report.Axis{Label: "percentile", Log: true, Lo: 1, Hi: 1, Format: percentile}
	p.Y = report.Axis{Label: "µs", Log: true, Format: func(v float64) string { return fmt.Sprintf("%g", v) }}
	for _, f := range r.Found {
		for _, pts := range f.Latency {
			if f.Load != l || pts.Share != share {
				continue
			}
			c := report.Curve{Label: f.Target, Class: rep.ColourOf(f.Target)}
			for _, q := range pts.Quantiles() {
				x := 100 / (100 - q.Percentile)
				c.Points = append(c.Points, report.Point{X: x, Y: q.Micros})
				p.X.Hi = max(p.X.Hi, math.Pow(10, math.Ceil(math.Log10(x)-1e-9)))
			}
			if len(c.Points) > 0 {
				p.Curves = append(p.Curves, c)
			}
		}
	}
	if len(p.Curves) == 0 {
		return report.Figure{}
	}
	p.X.Hi = max(p.X.Hi, 10)
	p.X.Ticks = []float64{1, 2}
	for v := 10.0; v <= p.X.Hi; v *= 10 {
		p.X.Ticks = append(p.X.Ticks, v)
	}
	return report.Figure{Title: p.Title, Note: "From the planned time of each frame to its arrival. A percentile is drawn only with ten samples beyond it.", SVG: p.Draw()}
}

// percentile is the label of 1/(1-q).
func percentile(x float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.4f", 100-100/x), "0"), ".") + " %"
}

package bench

import (
	"fmt"
	"slices"

	"uvs/bench/report"
)

// figures are Jain's index and the furthest from a share, a bar each scheduler.
func (f *FairnessResults) figures(*Report) []report.Figure {
	var jain, peak report.Groups
	for i := range f.Sharing {
		s := &f.Sharing[i]
		label := fmt.Sprintf("%s %s, %s", s.Scheduler, words32(s.Weights, ":"), s.Target)
		jain.Add(label, s.Jain)
		peak.Add(label, s.Peak)
	}
	return []report.Figure{
		jain.Bars("Jain's index of each scheduler", "1: every server got the connections it was promised.", "%.4f", 1),
		peak.Bars("Furthest from a share at any time", "In connections. Below one is as smooth as there is; larger is bursts.", "%.1f", 1),
	}
}

// figures show, for each event, who moved, how long nothing went, and how long new
// connections waited in the time around it.
func (s *DisruptResults) figures(*Report) []report.Figure {
	var all []report.Figure
	for _, e := range Events {
		var moved, fewest, blocked report.Groups
		for i := range s.Disruptions {
			d := &s.Disruptions[i]
			if d.Event != e {
				continue
			}
			label := d.Scheduler + ", " + d.Target
			moved.Add(label, share(d.Remapped, d.Keys))
			fewest.Add(label, d.Minimum)
			blocked.Add(label, float64(d.Blocked)/1e6)
		}
		if len(moved.Labels) == 0 {
			continue
		}
		for _, l := range moved.Labels {
			moved.Labels = append(moved.Labels, l+", fewest")
			moved.Values[l+", fewest"] = fewest.Values[l]
		}
		slices.Sort(moved.Labels)
		all = append(all,
			moved.Bars("Clients sent elsewhere: "+string(e), "Share of clients with another server than before, beside the fewest there can be.", "%.1f %%", 100),
			blocked.Bars("Longest wait on servers that stayed: "+string(e), "After the event, of connections that had nothing to do with the changed server.", "%.0f ms", 1),
			s.timeline(e))
	}
	return all
}

// timeline shows the longest wait of new connections at each moment around an
// event, one curve a scheduler.
func (s *DisruptResults) timeline(e Event) report.Figure {
	p := report.LinePlot{Title: "New connections around the event: " + string(e)}
	p.X = report.Axis{Label: "ms after the event", Format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
	p.Y = report.Axis{Label: "answered, %", Lo: 0, Hi: 100, Format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
	lo, hi := 0.0, 0.0
	for i := range s.Disruptions {
		d := &s.Disruptions[i]
		if d.Event != e || d.Round > 0 {
			continue
		}
		c := report.Curve{Label: d.Scheduler, Class: report.Colour(len(p.Curves))}
		for _, m := range d.Timeline {
			if all := m.Done + m.Failed; all > 0 {
				c.Points = append(c.Points, report.Point{X: m.At, Y: 100 * float64(m.Done) / float64(all)})
				lo, hi = min(lo, m.At), max(hi, m.At)
			}
		}
		p.Curves = append(p.Curves, c)
	}
	if len(p.Curves) == 0 || hi <= lo {
		return report.Figure{}
	}
	p.X.Lo, p.X.Hi = lo, hi
	return report.Figure{Title: p.Title, Note: "Share of new connections that were answered. At 0 a server was added, removed, or died; first round only.", SVG: p.Draw()}
}

// figures are new connections a second and what each costs, and the memory of
// each that is held.
func (c *ConnResults) figures(r *Report) []report.Figure {
	var all []report.Figure
	for _, kind := range []string{"udp", "syn"} {
		name := "open-" + kind
		all = append(all,
			r.Results().Bars("New connections a second by "+kind, "More is better.", name, "conns/s", 1e-3, "%.0f k"),
			r.Results().Bars("CPU time of a new connection by "+kind, "Less is better; the kernel's forwarding has no process to measure.", name+"/cpu", "ns/conn", 1, "%.0f ns"))
	}
	var each report.Groups
	for i := range c.Holdings {
		h := &c.Holdings[i]
		each.Add(fmt.Sprintf("%s, %s", h.Target, report.Short(float64(h.Wanted))), h.Each)
	}
	return append(all, each.Bars("Memory of each connection held", "Resident memory beyond that of an idle director, divided by the connections.", "%.0f B", 1))
}

// figures show the worst latency around an overload or stall, one curve a target.
func (s *RecoveryResults) figures(rep *Report) []report.Figure {
	var all []report.Figure
	for _, name := range []string{"overload", "stall"} {
		p := report.LinePlot{Title: "Longest latency around the " + name}
		p.X = report.Axis{Label: "ms after its end", Format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
		if name == "stall" {
			p.X.Label = "ms after its beginning"
		}
		p.Y = report.Axis{Label: "ms", Log: true, Format: func(v float64) string { return fmt.Sprintf("%g", v) }}
		lo, hi := 0.0, 0.0
		for i := range s.Recoveries {
			r := &s.Recoveries[i]
			if r.Case != name || r.Round > 0 {
				continue
			}
			c := report.Curve{Label: r.Target, Class: rep.ColourOf(r.Target)}
			for _, m := range r.Timeline {
				if m.Max > 0 {
					c.Points = append(c.Points, report.Point{X: m.At, Y: m.Max / 1e3})
					lo, hi = min(lo, m.At), max(hi, m.At)
				}
			}
			p.Curves = append(p.Curves, c)
		}
		if hi <= lo {
			continue
		}
		p.X.Lo, p.X.Hi = lo, hi
		all = append(all, report.Figure{Title: p.Title, Note: "Of the frames followed that were to leave in ten milliseconds, from their planned time; first round only.", SVG: p.Draw()})
	}
	return all
}

package bench

import (
	"fmt"
	"slices"
)

// plainBars draws one bar for each label, with a dot for each value.
func plainBars(title, note, format string, scale float64, labels []string, values map[string][]float64) figure {
	p := barPlot{title: title, format: func(v float64) string { return fmt.Sprintf(format, v) }}
	for i, l := range labels {
		b := bar{label: l, value: estimate(values[l]).scaled(scale), class: colour(i)}
		for _, v := range values[l] {
			b.dots = append(b.dots, v*scale)
		}
		p.bars = append(p.bars, b)
	}
	if len(p.bars) == 0 {
		return figure{}
	}
	return figure{title: title, note: note, svg: p.draw()}
}

// groups gathers values under labels in the order in which they come.
type groups struct {
	labels []string
	values map[string][]float64
}

func (g *groups) add(label string, v float64) {
	if g.values == nil {
		g.values = map[string][]float64{}
	}
	if g.values[label] == nil {
		g.labels = append(g.labels, label)
	}
	g.values[label] = append(g.values[label], v)
}

// figures are Jain's index and the furthest from a share, a bar each scheduler.
func (f *fairness) figures(*Report) []figure {
	var jain, peak groups
	for i := range f.Sharing {
		s := &f.Sharing[i]
		label := fmt.Sprintf("%s %s, %s", s.Scheduler, words32(s.Weights, ":"), s.Target)
		jain.add(label, s.Jain)
		peak.add(label, s.Peak)
	}
	return []figure{
		plainBars("Jain's index of each scheduler", "1: every server got the connections it was promised.", "%.4f", 1, jain.labels, jain.values),
		plainBars("Furthest from a share at any time", "In connections. Below one is as smooth as there is; larger is bursts.", "%.1f", 1, peak.labels, peak.values),
	}
}

// figures show, for each event, who moved, how long nothing went, and how long new
// connections waited in the time around it.
func (s *disruption) figures(*Report) []figure {
	var all []figure
	for _, e := range Events {
		var moved, fewest, blocked groups
		for i := range s.Disruptions {
			d := &s.Disruptions[i]
			if d.Event != e {
				continue
			}
			label := d.Scheduler + ", " + d.Target
			moved.add(label, share(d.Remapped, d.Keys))
			fewest.add(label, d.Minimum)
			blocked.add(label, float64(d.Blocked)/1e6)
		}
		if len(moved.labels) == 0 {
			continue
		}
		for _, l := range moved.labels {
			moved.labels = append(moved.labels, l+", fewest")
			moved.values[l+", fewest"] = fewest.values[l]
		}
		slices.Sort(moved.labels)
		all = append(all,
			plainBars("Clients sent elsewhere: "+string(e), "Share of clients with another server than before, beside the fewest there can be.", "%.1f %%", 100, moved.labels, moved.values),
			plainBars("Longest wait on servers that stayed: "+string(e), "After the event, of connections that had nothing to do with the changed server.", "%.0f ms", 1, blocked.labels, blocked.values),
			s.timeline(e))
	}
	return all
}

// timeline shows the longest wait of new connections at each moment around an
// event, one curve a scheduler.
func (s *disruption) timeline(e Event) figure {
	p := linePlot{title: "New connections around the event: " + string(e)}
	p.x = axis{label: "ms after the event", format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
	p.y = axis{label: "answered, %", lo: 0, hi: 100, format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
	lo, hi := 0.0, 0.0
	for i := range s.Disruptions {
		d := &s.Disruptions[i]
		if d.Event != e || d.Round > 0 {
			continue
		}
		c := curve{label: d.Scheduler, class: colour(len(p.curves))}
		for _, m := range d.Timeline {
			if all := m.Done + m.Failed; all > 0 {
				c.points = append(c.points, point{m.At, 100 * float64(m.Done) / float64(all)})
				lo, hi = min(lo, m.At), max(hi, m.At)
			}
		}
		p.curves = append(p.curves, c)
	}
	if len(p.curves) == 0 || hi <= lo {
		return figure{}
	}
	p.x.lo, p.x.hi = lo, hi
	return figure{title: p.title, note: "Share of new connections that were answered. At 0 a server was added, removed, or died; first round only.", svg: p.draw()}
}

// figures are new connections a second and what each costs, and the memory of
// each that is held.
func (c *crowding) figures(r *Report) []figure {
	var all []figure
	for _, kind := range []string{"udp", "syn"} {
		name := "open-" + kind
		all = append(all,
			r.bars("New connections a second by "+kind, "More is better.", name, "conns/s", 1e-3, "%.0f k"),
			r.bars("CPU time of a new connection by "+kind, "Less is better; the kernel's forwarding has no process to measure.", name+"/cpu", "ns/conn", 1, "%.0f ns"))
	}
	var each groups
	for i := range c.Holdings {
		h := &c.Holdings[i]
		each.add(fmt.Sprintf("%s, %s", h.Target, short(float64(h.Wanted))), h.Each)
	}
	return append(all, plainBars("Memory of each connection held", "Resident memory beyond that of an idle director, divided by the connections.", "%.0f B", 1, each.labels, each.values))
}

// figures show the worst latency around an overload or stall, one curve a target.
func (s *recovering) figures(rep *Report) []figure {
	var all []figure
	for _, name := range []string{"overload", "stall"} {
		p := linePlot{title: "Longest latency around the " + name}
		p.x = axis{label: "ms after its end", format: func(v float64) string { return fmt.Sprintf("%.0f", v) }}
		if name == "stall" {
			p.x.label = "ms after its beginning"
		}
		p.y = axis{label: "ms", log: true, format: func(v float64) string { return fmt.Sprintf("%g", v) }}
		lo, hi := 0.0, 0.0
		for i := range s.Recoveries {
			r := &s.Recoveries[i]
			if r.Case != name || r.Round > 0 {
				continue
			}
			c := curve{label: r.Target, class: rep.colourOf(r.Target)}
			for _, m := range r.Timeline {
				if m.Max > 0 {
					c.points = append(c.points, point{m.At, m.Max / 1e3})
					lo, hi = min(lo, m.At), max(hi, m.At)
				}
			}
			p.curves = append(p.curves, c)
		}
		if hi <= lo {
			continue
		}
		p.x.lo, p.x.hi = lo, hi
		all = append(all, figure{title: p.title, note: "Of the frames followed that were to leave in ten milliseconds, from their planned time; first round only.", svg: p.draw()})
	}
	return all
}

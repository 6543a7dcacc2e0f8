package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (c *crowding) series() []series {
	var all collection
	for i := range c.Openings {
		p := &c.Openings[i]
		name := "open-" + p.Kind
		if p.Load.Rate == 0 {
			all.add(series{target: p.Target, name: name, unit: "conns/s"}, p.Round, p.Rate())
		}
		all.add(series{target: p.Target, name: name + "/cpu", unit: "ns/conn", less: true}, p.Round, p.CPUPerPacket())
	}
	for i := range c.Holdings {
		h := &c.Holdings[i]
		name := fmt.Sprintf("hold-%d", h.Wanted)
		all.add(series{target: h.Target, name: name, unit: "B/conn", less: true}, h.Round, h.Each)
		all.add(series{target: h.Target, name: name + "/cpu", unit: "ns/conn", less: true}, h.Round, h.Cost)
	}
	return all
}

func (c *crowding) tables(r *Report) []table {
	var all []table
	if len(c.OpeningRows) > 0 {
		t := table{
			title: "New connections",
			note: fmt.Sprintf("each frame opens a connection; trials of %s; live: connections when a trial begins, and the most when one has ended",
				r.window(Open.Name)),
			head: []string{"target", "by", "offered", "opened/s", "95 %", "loss", "CPU ns each", "95 %", "generator ns", "live", "after", "lost as", "verdict"},
		}
		for i := range c.OpeningRows {
			t.rows = append(t.rows, c.OpeningRows[i].cells())
		}
		all = append(all, t)
	}
	if len(c.Holdings) > 0 {
		t := table{
			title: "Connections at a time",
			note:  "memory: resident, of the director's process; answered: one more frame for each connection came through",
			head: []string{"target", "connections", "held", "answered", "tries", "idle MB", "resident MB", "bytes each",
				"CPU ns to open", "CPU ns/packet", "verdict"},
		}
		for i := range c.Holdings {
			t.rows = append(t.rows, c.Holdings[i].cells())
		}
		all = append(all, t)
	}
	return all
}

func (r *OpeningRow) cells() []string {
	offered, live, after := "max", "-", "-"
	if r.Rate > 0 {
		offered = fmt.Sprintf("%.0fk", r.Rate/1e3)
	}
	if r.After > 0 {
		live, after = fmt.Sprint(r.Live), fmt.Sprint(r.After)
	}
	return []string{r.Target, r.Kind, offered,
		number(r.Opened.Median/1e3, "%.0fk"), interval(r.Opened.scaled(1e-3), "%.0f"), number(100*r.Loss.Median, "%.2f %%"),
		number(r.Cost.Median, "%.0f"), interval(r.Cost, "%.0f"), number(r.Sender.Median, "%.0f"), live, after, r.Losses,
		strings.Join(append([]string{r.Verdict()}, r.Faults...), ": ")}
}

func (h *Holding) cells() []string {
	mega := func(n uint64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }
	cost := "-"
	if h.Cost > 0 {
		cost = fmt.Sprintf("%.0f", h.Cost)
	}
	return []string{h.Target, fmt.Sprint(h.Wanted), fmt.Sprint(h.Held), fmt.Sprint(h.Answered), fmt.Sprint(h.Tries),
		mega(h.Idle), mega(h.Resident), fmt.Sprintf("%.0f", h.Each), cost, fmt.Sprintf("%.0f", h.Probe),
		strings.Join(append([]string{h.Verdict()}, h.Faults...), ": ")}
}

// named writes counters as "port-ring-drops 12, drop-send 3".
func named(counters map[string]uint64) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		all = append(all, fmt.Sprintf("%s %d", name, counters[name]))
	}
	return strings.Join(all, ", ")
}

package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"uvs/bench/report"
)

func (c *ConnResults) series() []report.Series {
	var all report.Collection
	for i := range c.Openings {
		p := &c.Openings[i]
		name := "open-" + p.Kind
		if p.Load.Rate == 0 {
			all.Add(report.Series{Target: p.Target, Name: name, Unit: "conns/s"}, p.Round, p.Rate())
		}
		all.Add(report.Series{Target: p.Target, Name: name + "/cpu", Unit: "ns/conn", Less: true}, p.Round, p.CPUPerPacket())
	}
	for i := range c.Holdings {
		h := &c.Holdings[i]
		name := fmt.Sprintf("hold-%d", h.Wanted)
		all.Add(report.Series{Target: h.Target, Name: name, Unit: "B/conn", Less: true}, h.Round, h.Each)
		all.Add(report.Series{Target: h.Target, Name: name + "/cpu", Unit: "ns/conn", Less: true}, h.Round, h.Cost)
	}
	return all
}

func (c *ConnResults) tables(r *Report) []report.Table {
	var all []report.Table
	if len(c.OpeningRows) > 0 {
		t := report.Table{
			Title: "New connections",
			Note: fmt.Sprintf("each frame opens a connection; trials of %s; live: connections when a trial begins, and the most when one has ended",
				r.Window(Open.Name)),
			Head: []string{"target", "by", "offered", "opened/s", "95 %", "loss", "CPU ns each", "95 %", "generator ns", "live", "after", "lost as", "verdict"},
		}
		for i := range c.OpeningRows {
			t.Rows = append(t.Rows, c.OpeningRows[i].cells())
		}
		all = append(all, t)
	}
	if len(c.Holdings) > 0 {
		t := report.Table{
			Title: "Connections at a time",
			Note:  "memory: resident, of the director's process; answered: one more frame for each connection came through",
			Head: []string{"target", "connections", "held", "answered", "tries", "idle MB", "resident MB", "bytes each",
				"CPU ns to open", "CPU ns/packet", "verdict"},
		}
		for i := range c.Holdings {
			t.Rows = append(t.Rows, c.Holdings[i].cells())
		}
		all = append(all, t)
	}
	return all
}

func (r *OpenRow) cells() []string {
	offered, live, after := "max", "-", "-"
	if r.Rate > 0 {
		offered = fmt.Sprintf("%.0fk", r.Rate/1e3)
	}
	if r.After > 0 {
		live, after = fmt.Sprint(r.Live), fmt.Sprint(r.After)
	}
	return []string{r.Target, r.Kind, offered,
		report.Number(r.Opened.Median/1e3, "%.0fk"), report.Interval(r.Opened.Scaled(1e-3), "%.0f"), report.Number(100*r.Loss.Median, "%.2f %%"),
		report.Number(r.Cost.Median, "%.0f"), report.Interval(r.Cost, "%.0f"), report.Number(r.Sender.Median, "%.0f"), live, after, r.Losses,
		strings.Join(append([]string{r.Verdict()}, r.Faults...), ": ")}
}

func (h *HoldTrial) cells() []string {
	mega := func(n uint64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }
	cost := "-"
	if h.Cost > 0 {
		cost = fmt.Sprintf("%.0f", h.Cost)
	}
	return []string{h.Target, fmt.Sprint(h.Wanted), fmt.Sprint(h.Held), fmt.Sprint(h.Answered), fmt.Sprint(h.Tries),
		mega(h.Idle), mega(h.Resident), fmt.Sprintf("%.0f", h.Each), cost, fmt.Sprintf("%.0f", h.Probe),
		strings.Join(append([]string{h.Verdict()}, h.Faults...), ": ")}
}

// formatCounters writes counters as "port-ring-drops 12, drop-send 3".
func formatCounters(counters map[string]uint64) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		all = append(all, fmt.Sprintf("%s %d", name, counters[name]))
	}
	return strings.Join(all, ", ")
}

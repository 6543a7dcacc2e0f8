package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"uvs/bench/load"
	"uvs/bench/report"
)

// TCPRow is one line of the table of TCP trials.
type TCPRow struct {
	Target string          `json:"target"`
	Kind   load.Kind       `json:"kind"`
	Conns  int             `json:"conns"`
	Rate   report.Estimate `json:"per_second"`  // connections, requests or bytes
	Cost   report.Estimate `json:"cpu_ns_each"` // of the forwarder; N 0 if the kernel forwards
	P50    report.Estimate `json:"p50_us"`
	P99    report.Estimate `json:"p99_us"`
	Failed uint64          `json:"failed"`
}

// TCP makes real connections of each kind. Every process runs on any CPU: clients
// and servers need more of them than one, and the kernel's forwarding is done on
// whichever sends.
var TCP = Measure{Name: "tcp", unpinned: true, unsupported: needsTCP, prepare: (*testbed).prepareTCP, steps: tcpSteps}

// needsTCP refuses what cannot carry a connection.
func needsTCP(t load.Target) string {
	if t.Method == load.Null {
		return fmt.Sprintf("%v: changes no addresses that a connection would need; for UDP only", t)
	}
	return ""
}

// prepareTCP makes the nodes ready for connections.
func (b *testbed) prepareTCP() error {
	return errors.Join(b.widePorts(), b.setUpDirectReturn())
}

func tcpSteps(o *Options) []step {
	var all []step
	for _, k := range o.Kinds {
		all = append(all, step{name: string(k), run: func(_ context.Context, t *run) error {
			trial, err := t.tcp(t.target, k, t.options)
			if err == nil {
				trial.Round = t.round
				t.report.TCP = append(t.report.TCP, trial)
			}
			return err
		}})
	}
	return all
}

// TCPResults is the section of TCP trials.
type TCPResults struct {
	TCP     []load.TCPTrial `json:"tcp,omitempty"`
	TCPRows []TCPRow        `json:"tcp_rows,omitempty"`
}

// tcp runs a trial.
func (b *testbed) tcp(t load.Target, k load.Kind, o *Options) (load.TCPTrial, error) {
	var trial load.TCPTrial
	err := b.calls.Call("TCP", b.tcpCall(t, k, o), &trial)
	trial.Target = t.String()
	return trial, err
}

// tcpCall describes a trial of a target.
func (b *testbed) tcpCall(t load.Target, k load.Kind, o *Options) load.TCPCall {
	r := b.lanes[t.Process()]
	port := r.ports[t]
	c := load.TCPCall{
		Kind: k, To: netip.AddrPortFrom(r.addressed(t), port), Port: port, Conns: o.Conns,
		PID: r.pid, Warm: o.Warm, Window: o.Window,
	}
	switch k {
	case load.PingPong:
		c.Conns = 1
	case load.Bulk:
		c.Conns = min(c.Conns, 4)
	}
	return c
}

// widePorts lets clients, and proxies, use every port again at once: else a few
// seconds of short connections leave none.
func (b *testbed) widePorts() error {
	nodes := []string{load.ClientNode, load.ServerNode}
	for _, r := range b.lanes {
		nodes = append(nodes, r.node)
	}
	for _, n := range nodes {
		for k, v := range map[string]string{"net.ipv4.ip_local_port_range": "1024 65535", "net.ipv4.tcp_tw_reuse": "1"} {
			if err := b.calls.Call("Sysctl", load.SysctlCall{Node: n, Key: k, Value: v}, &struct{}{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// summarize makes the rows.
func (r *TCPResults) summarize(*Report) {
	type key struct {
		target string
		kind   load.Kind
	}
	groups := map[key][]*load.TCPTrial{}
	var order []key
	for i := range r.TCP {
		t := &r.TCP[i]
		k := key{t.Target, t.Kind}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], t)
	}
	r.TCPRows = nil
	for _, k := range order {
		row := TCPRow{Target: k.target, Kind: k.kind, Conns: groups[k][0].Conns}
		var rate, cost, p50, p99 []float64
		for _, t := range groups[k] {
			rate = append(rate, t.PerSecond())
			cost = appendNonZero(cost, t.Cost())
			p50, p99 = appendNonZero(p50, t.P50), appendNonZero(p99, t.P99)
			row.Failed += t.Failed
		}
		row.Rate, row.Cost, row.P50, row.P99 = report.NewEstimate(rate), report.NewEstimate(cost), report.NewEstimate(p50), report.NewEstimate(p99)
		r.TCPRows = append(r.TCPRows, row)
	}
}

func appendNonZero(all []float64, v float64) []float64 {
	if v == 0 || math.IsNaN(v) {
		return all
	}
	return append(all, v)
}

func (r *TCPResults) series() []report.Series {
	var c report.Collection
	for i := range r.TCP {
		t := &r.TCP[i]
		unit := "ops/s"
		if t.Kind == load.Bulk {
			unit = "B/s"
		}
		c.Add(report.Series{Target: t.Target, Name: string(t.Kind), Unit: unit}, t.Round, t.PerSecond())
		c.Add(report.Series{Target: t.Target, Name: string(t.Kind) + "/cpu", Unit: "ns/op", Less: true}, t.Round, t.Cost())
	}
	return c
}

// tables are one for each kind.
func (r *TCPResults) tables(*Report) []report.Table {
	var all []report.Table
	for _, k := range load.Kinds {
		units := [2]string{string(k) + "/s", "CPU µs each"}
		if k == load.Bulk {
			units = [2]string{"Gbit/s", "CPU-s/GB"}
		}
		t := report.Table{Title: "TCP, " + string(k), Head: []string{string(k), "target", "conns", units[0], "95 %", units[1], "p50 µs", "p99 µs", "failed"}}
		for i := range r.TCPRows {
			if row := &r.TCPRows[i]; row.Kind == k {
				t.Rows = append(t.Rows, row.cells())
			}
		}
		if len(t.Rows) > 0 {
			all = append(all, t)
		}
	}
	return all
}

func (row *TCPRow) cells() []string {
	rate, cost, format := row.Rate, row.Cost.Median/1e3, "%.0f"
	if row.Kind == load.Bulk {
		rate = rate.Scaled(8 / 1e9)
		cost, format = row.Cost.Median, "%.2f"
	}
	return []string{"", row.Target, fmt.Sprint(row.Conns),
		report.Number(rate.Median, format), report.Interval(rate, format), report.Number(cost, "%.2f"),
		report.Number(row.P50.Median, "%.0f"), report.Number(row.P99.Median, "%.0f"), fmt.Sprint(row.Failed)}
}

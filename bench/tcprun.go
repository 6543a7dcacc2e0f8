package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"uvs/internal/sysctl"
)

// TCPRow is one line of the table of TCP trials.
type TCPRow struct {
	Target string   `json:"target"`
	Kind   Kind     `json:"kind"`
	Conns  int      `json:"conns"`
	Rate   Estimate `json:"per_second"`  // connections, requests or bytes
	Cost   Estimate `json:"cpu_ns_each"` // of the forwarder; N 0 if the kernel forwards
	P50    Estimate `json:"p50_us"`
	P99    Estimate `json:"p99_us"`
	Failed uint64   `json:"failed"`
}

// TCP makes real connections of each kind. Every process runs on any CPU: clients
// and servers need more of them than one, and the kernel's forwarding is done on
// whichever sends.
var TCP = Measure{Name: "tcp", unpinned: true, unfit: noTCP, prepare: (*bed).prepareTCP, steps: tcpSteps}

// noTCP refuses what cannot carry a connection.
func noTCP(t Target) string {
	if t.Method == Null {
		return fmt.Sprintf("%v: changes no addresses that a connection would need; for UDP only", t)
	}
	return ""
}

// prepareTCP makes the nodes ready for connections.
func (b *bed) prepareTCP() error {
	return errors.Join(b.widePorts(), b.directs())
}

func tcpSteps(o *Options) []step {
	var all []step
	for _, k := range o.Kinds {
		all = append(all, step{name: string(k), run: func(_ context.Context, t *turn) error {
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

// connecting is the section of TCP trials.
type connecting struct {
	TCP     []TCPTrial `json:"tcp,omitempty"`
	TCPRows []TCPRow   `json:"tcp_rows,omitempty"`
}

// tcp runs a trial.
func (b *bed) tcp(t Target, k Kind, o *Options) (TCPTrial, error) {
	trial := TCPTrial{Target: t.String()}
	err := b.rpc.Call("Tester.TCP", b.tcpCall(t, k, o), &trial)
	return trial, err
}

// tcpCall describes a trial of a target.
func (b *bed) tcpCall(t Target, k Kind, o *Options) TCPCall {
	r := b.lanes[t.process()]
	port := r.ports[t]
	c := TCPCall{
		Kind: k, To: netip.AddrPortFrom(r.addressed(t), port), Port: port, Conns: o.Conns,
		PID: r.pid, Warm: o.Warm, Window: o.Window,
	}
	switch k {
	case PingPong:
		c.Conns = 1
	case Bulk:
		c.Conns = min(c.Conns, 4)
	}
	return c
}

// widePorts lets clients, and proxies, use every port again at once: else a few
// seconds of short connections leave none.
func (b *bed) widePorts() error {
	nodes := []string{clientNode, serverNode}
	for _, r := range b.lanes {
		nodes = append(nodes, r.node)
	}
	for _, n := range nodes {
		for k, v := range map[string]string{"net.ipv4.ip_local_port_range": "1024 65535", "net.ipv4.tcp_tw_reuse": "1"} {
			if err := b.rpc.Call("Tester.Sysctl", SysctlCall{n, k, v}, &struct{}{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// SysctlCall is a kernel parameter to set in a node.
type SysctlCall struct{ Node, Key, Value string }

// Sysctl sets a kernel parameter.
func (t *Tester) Sysctl(c SysctlCall, _ *struct{}) error {
	return inNode(c.Node, func() error { return sysctl.Set(c.Key, c.Value) })
}

// summarize makes the rows.
func (r *connecting) summarize(*Report) {
	type key struct {
		target string
		kind   Kind
	}
	groups := map[key][]*TCPTrial{}
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
			cost = appendIf(cost, t.Cost())
			p50, p99 = appendIf(p50, t.P50), appendIf(p99, t.P99)
			row.Failed += t.Failed
		}
		row.Rate, row.Cost, row.P50, row.P99 = estimate(rate), estimate(cost), estimate(p50), estimate(p99)
		r.TCPRows = append(r.TCPRows, row)
	}
}

func appendIf(all []float64, v float64) []float64 {
	if v == 0 || math.IsNaN(v) {
		return all
	}
	return append(all, v)
}

func (r *connecting) series() []series {
	var c collection
	for i := range r.TCP {
		t := &r.TCP[i]
		unit := "ops/s"
		if t.Kind == Bulk {
			unit = "B/s"
		}
		c.add(series{target: t.Target, name: string(t.Kind), unit: unit}, t.Round, t.PerSecond())
		c.add(series{target: t.Target, name: string(t.Kind) + "/cpu", unit: "ns/op", less: true}, t.Round, t.Cost())
	}
	return c
}

// tables are one for each kind.
func (r *connecting) tables(*Report) []table {
	var all []table
	for _, k := range Kinds {
		units := [2]string{string(k) + "/s", "CPU µs each"}
		if k == Bulk {
			units = [2]string{"Gbit/s", "CPU-s/GB"}
		}
		t := table{title: "TCP, " + string(k), head: []string{string(k), "target", "conns", units[0], "95 %", units[1], "p50 µs", "p99 µs", "failed"}}
		for i := range r.TCPRows {
			if row := &r.TCPRows[i]; row.Kind == k {
				t.rows = append(t.rows, row.cells())
			}
		}
		if len(t.rows) > 0 {
			all = append(all, t)
		}
	}
	return all
}

func (row *TCPRow) cells() []string {
	rate, cost, format := row.Rate, row.Cost.Median/1e3, "%.0f"
	if row.Kind == Bulk {
		rate = rate.scaled(8 / 1e9)
		cost, format = row.Cost.Median, "%.2f"
	}
	return []string{"", row.Target, fmt.Sprint(row.Conns),
		number(rate.Median, format), interval(rate, format), number(cost, "%.2f"),
		number(row.P50.Median, "%.0f"), number(row.P99.Median, "%.0f"), fmt.Sprint(row.Failed)}
}

func (e Estimate) scaled(f float64) Estimate {
	return Estimate{N: e.N, Median: e.Median * f, Lo: e.Lo * f, Hi: e.Hi * f}
}

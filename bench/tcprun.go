package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"text/tabwriter"
	"time"

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

// TCP measures all targets with real connections of each kind, in turns. Every
// process runs on any CPU: clients and servers need more of them than one, and
// the kernel's forwarding is done on whichever sends.
func TCP(ctx context.Context, o Options) (*Report, error) {
	o.Unpinned = true
	r := &Report{Schema: schema, Kind: "tcp", Meta: newMeta(&o)}
	o.Targets = r.installed(o.Targets)
	o.say("how quiet is this machine?")
	r.Noise = MeasureNoise(2 * time.Second)
	o.say("building the lab")
	b, err := newBed(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	err = b.tcpRounds(ctx, &o, r)
	if ctx.Err() != nil {
		r.Partial, err = "interrupted", nil
	}
	r.Meta.End = time.Now().UTC()
	r.summarize()
	return r, err
}

// installed leaves out the targets that cannot be measured here, and notes why.
func (r *Report) installed(targets []Target) []Target {
	var have []Target
	for _, t := range targets {
		if why := t.missing(); why != "" {
			r.Notes = append(r.Notes, why)
			continue
		}
		have = append(have, t)
	}
	return have
}

func (b *bed) tcpRounds(ctx context.Context, o *Options, r *Report) error {
	if err := b.widePorts(); err != nil {
		return err
	}
	for round := range o.Rounds {
		for _, k := range o.Kinds {
			for i := range o.Targets {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				t := o.Targets[i]
				if round%2 == 1 {
					t = o.Targets[len(o.Targets)-1-i]
				}
				o.say(fmt.Sprintf("round %d of %d: %s, %s", round+1, o.Rounds, t, k))
				trial, err := b.tcp(t, k, o)
				if err != nil {
					return fmt.Errorf("%v: %w", t, err)
				}
				trial.Round = round
				r.TCP = append(r.TCP, trial)
			}
		}
	}
	return nil
}

// tcp runs a trial.
func (b *bed) tcp(t Target, k Kind, o *Options) (TCPTrial, error) {
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
	trial := TCPTrial{Target: t.String()}
	err := b.rpc.Call("Tester.TCP", c, &trial)
	return trial, err
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

// summarizeTCP makes the TCP rows.
func (r *Report) summarizeTCP() {
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

// printTCP writes the rows, a table for each kind.
func (r *Report) printTCP(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, k := range []Kind{Connect, Request, PingPong, Bulk} {
		units := [2]string{string(k) + "/s", "CPU µs each"}
		if k == Bulk {
			units = [2]string{"Gbit/s", "CPU-s/GB"}
		}
		first := true
		for i := range r.TCPRows {
			row := &r.TCPRows[i]
			if row.Kind != k {
				continue
			}
			if first {
				fmt.Fprintf(tw, "%s\ttarget\tconns\t%s\t95 %%\t%s\tp50 µs\tp99 µs\tfailed\t\n", k, units[0], units[1])
				first = false
			}
			row.print(tw)
		}
	}
	return tw.Flush()
}

func (row *TCPRow) print(w io.Writer) {
	rate, cost, format := row.Rate, row.Cost.Median/1e3, "%.0f"
	if row.Kind == Bulk {
		rate = rate.scaled(8 / 1e9)
		cost, format = row.Cost.Median, "%.2f"
	}
	fmt.Fprintf(w, "\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%d\t\n", row.Target, row.Conns,
		number(rate.Median, format), interval(rate, format), number(cost, "%.2f"),
		number(row.P50.Median, "%.0f"), number(row.P99.Median, "%.0f"), row.Failed)
}

func (e Estimate) scaled(f float64) Estimate {
	return Estimate{N: e.N, Median: e.Median * f, Lo: e.Lo * f, Hi: e.Hi * f}
}

package bench

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"

	"uvs/forwarder/frame"
	"uvs/sched/sim"
)

// Fairness opens connections through the director, each by one frame, and looks
// where each went: how fairly every scheduler shares them out among servers of
// given weights.
var Fairness = Measure{Name: "fairness", gated: true, untwinned: true, estimate: fairnessEstimate, unsupported: needsTranslation, steps: fairnessSteps}

// needsTranslation refuses targets behind which the server cannot be told from the
// frame: all servers are addresses of one node, and so one MAC address.
func needsTranslation(t load.Target) string {
	if t.Method == load.NAT || t.Method == load.FullNAT {
		return ""
	}
	return fmt.Sprintf("%v: fairness needs a method that writes the server's address into the packet: nat or fullnat", t)
}

// FairnessOptions is what Fairness measures.
type FairnessOptions struct {
	Schedulers  []string  // as in ipvsadm -s
	Weights     [][]int32 // of the servers, a case each
	Connections int       // in each case, rounded down to whole turns of the weights
	Keys        int       // destination addresses for the schedulers that look at them
}

// FairnessTrial is how one scheduler shared out connections among servers.
type FairnessTrial struct {
	Target      string  `json:"target"`
	Round       int     `json:"round"`
	Scheduler   string  `json:"scheduler"`
	Weights     []int32 `json:"weights"`
	Keys        int     `json:"keys,omitempty"` // that the scheduler hashes; 0: it does not
	Connections int     `json:"connections"`
	Lost        int     `json:"lost"` // that did not arrive at any server

	Counts []int     `json:"counts"` // by server
	Ideal  []float64 `json:"ideal"`

	Jain      float64     `json:"jain"`             // 1: all have their share
	Chance    *[3]float64 `json:"chance,omitempty"` // 5, 50 and 95 % of Jain's index if keys met servers at random
	MaxToMean float64     `json:"max_to_mean"`
	Peak      float64     `json:"peak"`      // furthest that any server ever was from its share, in connections
	Smoothest float64     `json:"smoothest"` // the same of the smoothest order there is
	Simulated bool        `json:"simulated"` // sched/sim ran the same connections
	Agreed    int         `json:"agreed"`    // of them, that went where it sent them
	Faults    []string    `json:"faults,omitempty"`
}

// lossForgiven is the share of connections that may be lost though a case was tried
// again: a busy machine may take the forwarder's CPU away for a moment.
const lossForgiven = 0.001

// Verdict is "valid", "incomplete" if a few connections came to no server, or
// INVALID if many did, if frames were wrong, or if the picks are not those of the
// simulation.
func (s *FairnessTrial) Verdict() string {
	switch {
	case len(s.Faults) > 0, float64(s.Lost) > lossForgiven*float64(s.Connections):
		return "INVALID"
	case s.Simulated && s.Agreed != s.Connections-s.Lost:
		return "INVALID"
	case s.Lost > 0:
		return "incomplete"
	}
	return "valid"
}

// fairnessRate is slow enough for every forwarder to lose nothing.
const fairnessRate = 20_000

func fairnessSteps(o *Options) []step {
	var all []step
	for _, scheduler := range o.Fairness.Schedulers {
		for _, weights := range o.Fairness.Weights {
			all = append(all, step{name: fmt.Sprintf("%s %v", scheduler, weights), run: func(_ context.Context, t *run) error {
				s, err := t.share(scheduler, weights)
				if err == nil {
					t.report.Sharing = append(t.report.Sharing, s)
				}
				return err
			}})
		}
	}
	return all
}

// shareCase is one case of Fairness under way.
type shareCase struct {
	scheduler string
	weights   []int32
	load      load.Load
	to        netip.AddrPort
	servers   []netip.AddrPort
}

// shareTries is how often a case is tried if frames are lost: a scheduler that was
// not asked cannot have picked what the simulation did.
const shareTries = 3

// share measures one scheduler with servers of given weights.
func (t *run) share(scheduler string, weights []int32) (s FairnessTrial, err error) {
	for range shareTries {
		if s, err = t.shareOnce(scheduler, weights); err != nil || s.Lost == 0 {
			break
		}
	}
	return s, err
}

func (t *run) shareOnce(scheduler string, weights []int32) (FairnessTrial, error) {
	r := t.lanes[t.target.Process()]
	c := t.shareCase(r, scheduler, weights)
	s := FairnessTrial{Target: t.target.String(), Round: t.round, Scheduler: scheduler, Weights: c.weights, Connections: c.load.Flows}
	if err := t.apply(r, c.rules(t.target, r)); err != nil {
		return s, err
	}
	var p load.Picks
	err := t.calls.Call("Picks", load.PicksCall{
		Load: c.load, Method: t.target.Method, Link: r.clientLink(), Middle: r.node, To: c.to, Servers: c.servers,
	}, &p)
	if err != nil {
		return s, err
	}
	s.Faults = p.Faults
	return s, s.judge(c, p.Picks)
}

// shareCase makes a case. Every one has a port of its own, and a service by mark
// that as its mark, so that no server keeps counts of an earlier one.
func (t *run) shareCase(r *running, scheduler string, weights []int32) *shareCase {
	f := t.options.Fairness
	total := int32(0)
	for _, w := range weights {
		total += w
	}
	c := &shareCase{scheduler: scheduler, weights: weights, load: load.Load{Size: 64, SYN: true, Rate: fairnessRate}}
	turns := max(f.Connections/int(total), 1)
	c.load.Flows = turns * int(total)
	if scheduler == "ovf" { // so that the last connection fills the last server
		c.weights = make([]int32, len(weights))
		for i, w := range weights {
			c.weights[i] = w * int32(turns)
		}
	}
	c.to = netip.AddrPortFrom(r.vip(), uint16(firstPort+len(r.ports)+r.cases))
	r.cases++
	if promiseOf(scheduler).key == addressKey {
		c.load.Spread = f.Keys
		c.to = netip.AddrPortFrom(manyDestinations, c.to.Port())
	}
	for i := range weights {
		c.servers = append(c.servers, netip.AddrPortFrom(r.server(i), c.to.Port()))
	}
	return c
}

// manyDestinations are the addresses that services by mark are asked for; nobody
// has them.
var manyDestinations = netip.MustParseAddr("198.18.64.0")

// rules are the director's for a case, and none else.
func (c *shareCase) rules(t load.Target, r *running) string {
	var b strings.Builder
	service, port := "-t "+c.to.String(), c.to.Port()
	if c.load.Spread > 0 {
		fmt.Fprintf(&b, "mark -F\nmark -A -d %v/18 -p tcp --dport %d --set-mark %d\n", manyDestinations, port, port)
		service, port = fmt.Sprint("-f ", port), 0
	}
	fmt.Fprintf(&b, "-A %s -s %s\n", service, c.scheduler)
	if t.Method == load.FullNAT {
		for i := range r.locals {
			fmt.Fprintf(&b, "--add-laddr %s --laddr %v\n", service, r.local(i))
		}
	}
	for i, w := range c.weights {
		fmt.Fprintf(&b, "-a %s -r %v %s -w %d\n", service, netip.AddrPortFrom(r.server(i), port), methodFlag[t.Method], w)
	}
	return b.String()
}

// judge makes the figures of the picks.
func (s *FairnessTrial) judge(c *shareCase, picks []uint16) error {
	n := len(c.weights)
	s.Counts, s.Ideal = countPicks(picks, n), ideal(c.scheduler, c.weights, c.load.Flows)
	for _, p := range picks {
		if p == 0 {
			s.Lost++
		}
	}
	should := func(k int) []float64 { return ideal(c.scheduler, c.weights, k) }
	s.Jain, s.MaxToMean = jain(s.Counts, s.Ideal), maxToMean(s.Counts, s.Ideal)
	s.Peak, s.Smoothest = peak(picks, n, should), smoothest(n, c.load.Flows, should)
	promised := promiseOf(c.scheduler)
	switch promised.key {
	case addressKey:
		s.Keys = min(c.load.Spread, c.load.Flows)
	case clientKey:
		s.Keys = min(load.ClientHosts, c.load.Flows)
	}
	if promised.hashed {
		x := chance(s.Ideal, s.Keys)
		s.Chance = &x
	}
	predicted, err := c.simulate()
	if err != nil || predicted == nil {
		return err
	}
	s.Simulated = true
	for i, p := range picks {
		if p != 0 && p == predicted[i] {
			s.Agreed++
		}
	}
	return nil
}

// simulate lets the scheduler's own code pick for the same connections, without
// a packet. It returns nil for twos, whose dice the director throws itself.
func (c *shareCase) simulate() ([]uint16, error) {
	if c.scheduler == "twos" {
		return nil, nil
	}
	w := sim.Workload{
		Scheduler: c.scheduler, Connections: c.load.Flows, Rate: c.load.Rate, Arrivals: sim.Fixed,
		Lasts: sim.Duration(time.Hour), Durations: sim.Fixed, OneByOne: true,
		Flow: c.flow,
	}
	for i, s := range c.servers {
		if c.load.Spread > 0 {
			s = netip.AddrPortFrom(s.Addr(), 0)
		}
		w.Servers = append(w.Servers, sim.Server{Weight: c.weights[i], At: s})
	}
	var picks []uint16
	_, err := sim.Run(w, false, func(p sim.Pick) { picks = append(picks, uint16(p.Server)) })
	return picks, err
}

// flow is the nth connection, as the generator makes it.
func (c *shareCase) flow(n int) frame.Flow {
	addr, port := load.Source(uint32(n))
	dst := c.to
	if c.load.Spread > 1 {
		dst = netip.AddrPortFrom(load.AddrAfter(dst.Addr(), load.SpreadIndex(uint32(n), uint32(c.load.Spread))), dst.Port())
	}
	return frame.FlowOf(frame.ProtoTCP, netip.AddrPortFrom(netip.AddrFrom4(addr), port), dst)
}

// apply makes a director's configuration that of a rules file.
func (b *testbed) apply(r *running, rules string) error {
	return b.execInput(r, rules, "uvs", "apply", "-")
}

// FairnessResults is the section of Fairness.
type FairnessResults struct {
	Sharing []FairnessTrial `json:"sharing,omitempty"`
}

func (f *FairnessResults) summarize(*Report) {}

func (f *FairnessResults) series() []report.Series {
	var all report.Collection
	for i := range f.Sharing {
		s := &f.Sharing[i]
		name := s.Scheduler + "/" + words32(s.Weights, "-")
		all.Add(report.Series{Target: s.Target, Name: name + "/jain", Unit: "jain"}, s.Round, s.Jain)
		all.Add(report.Series{Target: s.Target, Name: name + "/peak", Unit: "conns", Less: true}, s.Round, s.Peak)
	}
	return all
}

func (f *FairnessResults) tables(*Report) []report.Table {
	if len(f.Sharing) == 0 {
		return nil
	}
	t := report.Table{
		Title: "Fairness of schedulers",
		Note: "connections by weight as each scheduler promises; peak: furthest that any server was from its share, in connections, " +
			"beside that of the smoothest order",
		Head: []string{"target", "sched", "weights", "connections", "lost", "Jain", "by chance 5…95 %", "max/mean", "peak", "smoothest", "as simulated", "verdict"},
	}
	for i := range f.Sharing {
		t.Rows = append(t.Rows, f.Sharing[i].cells())
	}
	return []report.Table{t}
}

func (s *FairnessTrial) cells() []string {
	luck, agreed := "-", "-"
	if s.Chance != nil {
		luck = fmt.Sprintf("%.4f…%.4f", s.Chance[0], s.Chance[2])
	}
	if s.Simulated && s.Connections > s.Lost {
		agreed = fmt.Sprintf("%.2f %%", 100*float64(s.Agreed)/float64(s.Connections-s.Lost))
	}
	return []string{s.Target, s.Scheduler, words32(s.Weights, ":"), fmt.Sprint(s.Connections), fmt.Sprint(s.Lost),
		fmt.Sprintf("%.4f", s.Jain), luck, fmt.Sprintf("%.3f", s.MaxToMean), fmt.Sprintf("%.2f", s.Peak),
		fmt.Sprintf("%.2f", s.Smoothest), agreed, s.Verdict()}
}

func words32(v []int32, between string) string {
	var all []string
	for _, x := range v {
		all = append(all, fmt.Sprint(x))
	}
	return strings.Join(all, between)
}

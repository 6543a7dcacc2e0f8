package bench

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"uvs/forwarder/frame"
	"uvs/sched/sim"
)

// Fairness opens connections through the director, each by one frame, and looks
// where each went: how fairly every scheduler shares them out among servers of
// given weights.
var Fairness = Measure{Name: "fairness", gated: true, once: true, takes: fairnessTakes, unfit: tellsServers, steps: fairnessSteps}

// tellsServers refuses targets behind which the server cannot be told from the
// frame: all servers are addresses of one node, and so one MAC address.
func tellsServers(t Target) string {
	if t.Method == NAT || t.Method == FullNAT {
		return ""
	}
	return fmt.Sprintf("%v: fairness needs a method that writes the server's address into the packet: nat or fullnat", t)
}

// Fair is what Fairness measures.
type Fair struct {
	Schedulers  []string  // as in ipvsadm -s
	Weights     [][]int32 // of the servers, a case each
	Connections int       // in each case, rounded down to whole turns of the weights
	Keys        int       // destination addresses for the schedulers that look at them
}

// Sharing is how one scheduler shared out connections among servers.
type Sharing struct {
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

// Verdict is "valid", or INVALID for connections that came to nobody or frames
// that were wrong.
func (s *Sharing) Verdict() string {
	if len(s.Faults) > 0 || s.Simulated && s.Agreed != s.Connections-s.Lost {
		return "INVALID"
	}
	return "valid"
}

// byAddress reports whether a scheduler looks at the address that is asked for:
// it needs many of them, and so a service by mark.
func byAddress(scheduler string) bool {
	return scheduler == "dh" || scheduler == "lblc" || scheduler == "lblcr"
}

// byHash reports whether chance decides where a key goes.
func byHash(scheduler string) bool {
	return scheduler == "sh" || scheduler == "mh" || scheduler == "dh"
}

// fairnessRate is slow enough for every forwarder to lose nothing.
const fairnessRate = 20_000

func fairnessSteps(o *Options) []step {
	var all []step
	for _, scheduler := range o.Fair.Schedulers {
		for _, weights := range o.Fair.Weights {
			all = append(all, step{name: fmt.Sprintf("%s %v", scheduler, weights), run: func(_ context.Context, t *turn) error {
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
	load      Load
	to        netip.AddrPort
	servers   []netip.AddrPort
}

// shareTries is how often a case is tried if frames are lost: a scheduler that was
// not asked cannot have picked what the simulation did.
const shareTries = 3

// share measures one scheduler with servers of given weights.
func (t *turn) share(scheduler string, weights []int32) (s Sharing, err error) {
	for range shareTries {
		if s, err = t.shareOnce(scheduler, weights); err != nil || s.Lost == 0 {
			break
		}
	}
	return s, err
}

func (t *turn) shareOnce(scheduler string, weights []int32) (Sharing, error) {
	r := t.lanes[t.target.process()]
	c := t.shareCase(r, scheduler, weights)
	s := Sharing{Target: t.target.String(), Round: t.round, Scheduler: scheduler, Weights: c.weights, Connections: c.load.Flows}
	if err := t.apply(r, c.rules(t.target, r)); err != nil {
		return s, err
	}
	var p Picks
	err := t.rpc.Call("Tester.Picks", PicksCall{
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
func (t *turn) shareCase(r *running, scheduler string, weights []int32) *shareCase {
	f := t.options.Fair
	total := int32(0)
	for _, w := range weights {
		total += w
	}
	c := &shareCase{scheduler: scheduler, weights: weights, load: Load{Size: 64, SYN: true, Rate: fairnessRate}}
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
	if byAddress(scheduler) {
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
func (c *shareCase) rules(t Target, r *running) string {
	var b strings.Builder
	service, port := "-t "+c.to.String(), c.to.Port()
	if c.load.Spread > 0 {
		fmt.Fprintf(&b, "mark -F\nmark -A -d %v/18 -p tcp --dport %d --set-mark %d\n", manyDestinations, port, port)
		service, port = fmt.Sprint("-f ", port), 0
	}
	fmt.Fprintf(&b, "-A %s -s %s\n", service, c.scheduler)
	if t.Method == FullNAT {
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
func (s *Sharing) judge(c *shareCase, picks []uint16) error {
	n := len(c.weights)
	s.Counts, s.Ideal = shared(picks, n), ideal(c.scheduler, c.weights, c.load.Flows)
	for _, p := range picks {
		if p == 0 {
			s.Lost++
		}
	}
	should := func(k int) []float64 { return ideal(c.scheduler, c.weights, k) }
	s.Jain, s.MaxToMean = jain(s.Counts, s.Ideal), maxToMean(s.Counts, s.Ideal)
	s.Peak, s.Smoothest = peak(picks, n, should), smoothest(n, c.load.Flows, should)
	switch {
	case byAddress(c.scheduler):
		s.Keys = min(c.load.Spread, c.load.Flows)
	case byHash(c.scheduler):
		s.Keys = min(clientHosts, c.load.Flows)
	}
	if byHash(c.scheduler) {
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
	addr, port := source(uint32(n))
	dst := c.to
	if c.load.Spread > 1 {
		dst = netip.AddrPortFrom(add(dst.Addr(), spot(uint32(n), uint32(c.load.Spread))), dst.Port())
	}
	return frame.FlowOf(frame.ProtoTCP, netip.AddrPortFrom(netip.AddrFrom4(addr), port), dst)
}

// apply makes a director's configuration that of a rules file.
func (b *bed) apply(r *running, rules string) error {
	return b.give(r, rules, "uvs", "apply", "-")
}

// fairness is the section of Fairness.
type fairness struct {
	Sharing []Sharing `json:"sharing,omitempty"`
}

func (f *fairness) summarize(*Report) {}

func (f *fairness) series() []series {
	var all collection
	for i := range f.Sharing {
		s := &f.Sharing[i]
		name := s.Scheduler + "/" + words32(s.Weights, "-")
		all.add(series{target: s.Target, name: name + "/jain", unit: "jain"}, s.Round, s.Jain)
		all.add(series{target: s.Target, name: name + "/peak", unit: "conns", less: true}, s.Round, s.Peak)
	}
	return all
}

func (f *fairness) tables(*Report) []table {
	if len(f.Sharing) == 0 {
		return nil
	}
	t := table{
		title: "Fairness of schedulers",
		note: "connections by weight as each scheduler promises; peak: furthest that any server was from its share, in connections, " +
			"beside that of the smoothest order",
		head: []string{"target", "sched", "weights", "connections", "lost", "Jain", "by chance 5…95 %", "max/mean", "peak", "smoothest", "as simulated", "verdict"},
	}
	for i := range f.Sharing {
		t.rows = append(t.rows, f.Sharing[i].cells())
	}
	return []table{t}
}

func (s *Sharing) cells() []string {
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

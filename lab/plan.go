package lab

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// A Change is one step from a running lab to another topology.
type Change struct {
	// Sign says what happens: "+" it comes, "-" it goes, "~" it becomes another, "=" it stays
	// though the topology no longer has it, "!" it cannot be changed in a running lab.
	Sign string `json:"sign"`
	What string `json:"what"`
	Text string `json:"text,omitempty"`
}

// Signs of changes.
const (
	comes   = "+"
	goes    = "-"
	becomes = "~"
	stays   = "="
	cannot  = "!"
)

// Plan returns what [Lab.Apply] would do to make a running lab of the topology another, in the
// order in which it is done. Nothing is restarted but services whose command changes.
func (t *Topology) Plan(to *Topology) []Change { return changes(planOf(t, to)) }

// changes returns what steps say.
func changes(steps []step) []Change {
	all := []Change{}
	for _, s := range steps {
		if s.What != "" {
			all = append(all, s.Change)
		}
	}
	return all
}

// Possible reports whether all changes of a plan can be made in a running lab.
func Possible(plan []Change) bool {
	return !slices.ContainsFunc(plan, func(c Change) bool { return c.Sign == cannot })
}

// phase is when a step is done.
type phase int

// Phases in their order. Between leave and arrive the lab takes the new topology over.
const (
	undo      phase = iota // set-up commands that the topology no longer has
	stop                   // services
	leave                  // interfaces and nodes
	arrive                 // networks
	plug                   // interfaces
	forsake                // networks that nobody is on any more
	address                // addresses and routes
	disturb                // impairments
	write                  // files
	start                  // services
	startLate              // services that are started when the others are ready
	setUp                  // set-up commands
)

// step is a Change with how it is done. A step without What belongs to another one.
type step struct {
	Change
	phase phase
	do    func(*supervisor) error
	// forget takes what was not done out of the topology, so that it is done next time.
	forget func(*Topology)
}

// planner compares two topologies.
type planner struct {
	old, next *Topology
	steps     []step
}

func (p *planner) add(at phase, sign, what, text string, do func(*supervisor) error) *step {
	p.steps = append(p.steps, step{Change: Change{sign, what, text}, phase: at, do: do})
	return &p.steps[len(p.steps)-1]
}

// planFrom returns the steps to a topology for a lab that has become old, but not in full, when it
// should have become that from each of the topologies before. What was to be done to the network
// and to files since then is done again: each of these steps does nothing where it was done. The
// steps for services and set-up commands that were not done are those of old itself, see forget.
func planFrom(old, next *Topology, before []Topology) []step {
	var all []step
	for i := range before {
		for _, st := range planOf(&before[i], next) {
			if st.phase >= arrive && st.phase < start && st.Sign != cannot {
				all = append(all, st)
			}
		}
	}
	for _, st := range planOf(old, next) {
		if st.What != "" {
			all = slices.DeleteFunc(all, func(o step) bool { return o.Change == st.Change })
		}
		all = append(all, st)
	}
	slices.SortStableFunc(all, func(a, b step) int { return int(a.phase) - int(b.phase) })
	return all
}

// planOf returns the steps from one topology to another in their order.
func planOf(old, next *Topology) []step {
	p := planner{old: old, next: next}
	p.whole()
	p.networks()
	for i := range old.Nodes {
		n := &old.Nodes[i]
		if next.Node(n.Name) == nil {
			p.remove(n)
		}
	}
	for i := range next.Nodes {
		n := &next.Nodes[i]
		if was := old.Node(n.Name); was != nil {
			p.node(was, n)
		} else {
			p.create(n)
		}
	}
	slices.SortStableFunc(p.steps, func(a, b step) int { return int(a.phase) - int(b.phase) })
	return p.steps
}

// whole compares what is said of the topologies as a whole.
func (p *planner) whole() {
	if p.old.ByName {
		p.add(undo, cannot, "lab", "it belongs to a measurement, and stays as it is", nil)
	}
	if p.old.Bare != p.next.Bare {
		p.add(undo, cannot, "bare", fmt.Sprintf("%t → %t: what was typed cannot be told from what was set up; take the lab down and start it anew", p.old.Bare, p.next.Bare), nil)
	}
	for _, w := range []struct{ what, from, to string }{
		{"name", p.old.Name, p.next.Name}, {"title", p.old.Title, p.next.Title}, {"vip", vipWords(p.old), vipWords(p.next)},
		{"seed", fmt.Sprint(p.old.seed()), fmt.Sprint(p.next.seed()) + ", of links that are impaired from now on"},
	} {
		if w.from != w.to && !(w.what == "seed" && p.old.seed() == p.next.seed()) {
			p.add(arrive, becomes, w.what, orDash(w.from)+" → "+orDash(w.to), nil)
		}
	}
	own := *p.next
	own.Checks = nil
	if !reflect.DeepEqual(p.old.Promises(), p.next.Promises()) && !reflect.DeepEqual(own.Promises(), p.next.Promises()) {
		p.add(arrive, becomes, "check", fmt.Sprintf("%d → %d checks", len(p.old.Promises()), len(p.next.Promises())), nil)
	}
}

func vipWords(t *Topology) string {
	var all []string
	for _, a := range t.VIPs() {
		all = append(all, a.String())
	}
	return strings.Join(all, ", ")
}

func (p *planner) networks() {
	for i := range p.next.Networks {
		n := &p.next.Networks[i]
		was := p.old.Network(n.Name)
		if was == nil {
			p.add(arrive, comes, "network "+n.Name, fmt.Sprintf("mtu %d", n.mtu()), func(s *supervisor) error { return s.addNetwork(n.Name) })
			continue
		}
		if was.mtu() != n.mtu() {
			p.add(plug, becomes, "network "+n.Name, fmt.Sprintf("mtu %d → %d", was.mtu(), n.mtu()), func(s *supervisor) error { return s.setMTU(n.Name) })
		}
		if was.NoOffload != n.NoOffload {
			p.add(undo, cannot, "network "+n.Name, "its offloads: take the lab down and start it anew", nil)
		}
	}
	for i := range p.old.Networks {
		n := &p.old.Networks[i]
		if p.next.Network(n.Name) == nil {
			p.add(forsake, goes, "network "+n.Name, "", func(s *supervisor) error { return s.removeNetwork(n.Name) })
		}
	}
}

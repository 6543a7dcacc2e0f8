package lab

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"uvs/lab/wire"
)

// A link is a node's interface on a network: the cable between them. Its name is the
// node's, or NODE:INTERFACE, "director:eth1", which a node with several needs.

// Paths that a link's frames can take.
const (
	KernelPath = "kernel" // a veth pair
	WirePath   = "wire"   // a veth pair, and a process that impairs what it passes on
)

// DefaultSeed is the seed of impaired links if nobody gives another one. With this one a loss
// of 1% does not begin with the ARP request for a lesson's first packet, which would then come
// a second later.
const DefaultSeed = 3

// LinkStatus is a link of a running lab.
type LinkStatus struct {
	Name      string `json:"name"`
	Node      string `json:"node"`
	Interface string `json:"interface"`
	Network   string `json:"network"`
	Path      string `json:"path"`           // KernelPath or WirePath
	Port      string `json:"port,omitempty"` // the far end's name in the supervisor's network namespace; empty: it is another node's
	Down      bool   `json:"down"`           // the cable is pulled

	// Impair is the impairment of each direction, if both have the same.
	Impair *wire.Impairment `json:"impair,omitempty"`
	Seed   uint64           `json:"seed"`
	In     LinkDirection    `json:"in"`  // to the node
	Out    LinkDirection    `json:"out"` // from the node
}

// LinkDirection is one direction of a link. A wire counts since it was put in; where the
// kernel counts, frames have passed since the lab was started, segments of one super-frame
// as one.
type LinkDirection struct {
	Impair wire.Impairment `json:"impair"`
	wire.Counters
}

// LinkChange says what is to change about a link.
type LinkChange struct {
	Link string `json:"link"` // its name
	// Words are merged into what the link has: see [wire.Impairment.Merge].
	Words string `json:"words"`
	// Only restricts the words to frames to the node, "in", or from it, "out".
	Only string `json:"only,omitempty"`
	// Seed, if it is given, lets the random values begin anew from it.
	Seed *uint64 `json:"seed,omitempty"`
}

// Directions that LinkChange.Only can name.
const (
	In  = "in"
	Out = "out"
)

// Link returns the status of a link by its name.
func (in *Info) Link(name string) (*LinkStatus, error) {
	at, err := in.Topology.link(name)
	if err != nil {
		return nil, err
	}
	i := slices.Index(in.Topology.allLegs(), at)
	if i >= len(in.Links) {
		return nil, errors.New("lab: the lab was started by another uvs, which knows no links")
	}
	return &in.Links[i], nil
}

// Now returns the topology with the links as they are, and not as they were at the start. Where
// the two directions of a link differ it is that from the node, unless that is perfect.
func (in *Info) Now() Topology {
	t := in.Topology
	t.Nodes = slices.Clone(t.Nodes)
	for i := range t.Nodes {
		t.Nodes[i].Interfaces = slices.Clone(t.Nodes[i].Interfaces)
	}
	for i, at := range t.allLegs() {
		if i >= len(in.Links) {
			break // another uvs, which knows no links, started the lab
		}
		l := &in.Links[i]
		is := l.Out.Impair
		if is.Perfect() {
			is = l.In.Impair
		}
		is.Down = l.Down
		t.Nodes[at.node].Interfaces[at.iface].Impair = is
	}
	return t
}

// Slowest returns how long the slowest link holds a frame, at most; of a limited rate only
// what it adds to a delay is not known.
func (in *Info) Slowest() (d time.Duration) {
	for i := range in.Links {
		for _, is := range []wire.Impairment{in.Links[i].In.Impair, in.Links[i].Out.Impair} {
			d = max(d, is.Delay+is.Jitter)
		}
	}
	return d
}

// Impair changes a link of the lab and returns how it is then.
func (l *Lab) Impair(c LinkChange) (*LinkStatus, error) {
	a, files, err := call(l.socket, request{Op: opLink, Link: &c})
	closeAll(files)
	if err == nil && len(a.Links) != 1 {
		err = errors.New("lab: empty answer")
	}
	if err != nil {
		return nil, err
	}
	return &a.Links[0], nil
}

// Heal takes the impairments from all links, and puts all cables in.
func (l *Lab) Heal() error { return l.send(request{Op: opHeal}) }

// LinkNames returns the names of the topology's links.
func (t *Topology) LinkNames() []string {
	var all []string
	for _, l := range t.allLegs() {
		all = append(all, t.linkName(l))
	}
	return all
}

// allLegs returns the interfaces of all nodes.
func (t *Topology) allLegs() []leg {
	var all []leg
	for n := range t.Nodes {
		for i := range t.Nodes[n].Interfaces {
			all = append(all, leg{n, i})
		}
	}
	return all
}

func (t *Topology) linkName(l leg) string {
	n := &t.Nodes[l.node]
	if len(n.Interfaces) == 1 {
		return n.Name
	}
	return n.Name + ":" + ethName(l.iface)
}

// link finds a link by its name.
func (t *Topology) link(name string) (leg, error) {
	node, iface, named := strings.Cut(name, ":")
	for n := range t.Nodes {
		if t.Nodes[n].Name != node {
			continue
		}
		all := t.Nodes[n].Interfaces
		if !named && len(all) == 1 {
			return leg{n, 0}, nil
		}
		var names []string
		for i := range all {
			if named && ethName(i) == iface {
				return leg{n, i}, nil
			}
			names = append(names, fmt.Sprintf("%s:%s (%s)", node, ethName(i), all[i].Network))
		}
		if len(names) == 0 {
			return leg{}, fmt.Errorf("lab: %s has no interface", node)
		}
		if !named {
			return leg{}, fmt.Errorf("lab: %s has several links, name one: %s", node, strings.Join(names, ", "))
		}
		return leg{}, fmt.Errorf("lab: no link %q, %s has %s", name, node, strings.Join(names, ", "))
	}
	return leg{}, fmt.Errorf("lab: no link %q, there are %s", name, strings.Join(t.LinkNames(), ", "))
}

// PrintLinks writes links as a table: the path of their frames, what is done to them, and
// what became of them in each direction.
func PrintLinks(w io.Writer, links []LinkStatus) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "LINK\tNETWORK\tPATH\tIMPAIRMENT\tTO NODE\tFROM NODE")
	for i := range links {
		l := &links[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Name, l.Network, l.Path, l.impairment(), l.In.counts(), l.Out.counts())
	}
	return t.Flush()
}

func (l *LinkStatus) impairment() string {
	text := l.In.Impair.String()
	if l.Impair == nil {
		text = fmt.Sprintf("to: %s; from: %s", orDash(l.In.Impair.String()), orDash(l.Out.Impair.String()))
	}
	return orDash(text)
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// counts says what became of frames: those that passed, and all others by name.
func (d *LinkDirection) counts() string {
	text := fmt.Sprint(d.Passed)
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{d.Lost, "lost"}, {d.Reordered, "reordered"}, {d.Duplicated, "duplicated"}, {d.Corrupted, "corrupted"},
		{d.QueueFull, "queue full"}, {d.Overrun, "overrun"}, {d.Undelivered, "undelivered"},
	} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	return text
}

// Package journey recognises the same packet on the links that it passes, one after the
// other, and tells its way through a lab as one journey: over routers, over a director that
// changes its addresses and ports, into a tunnel and across a link that loses it.
//
// A packet is recognised by what no node changes: by the sequence and acknowledgement
// numbers, flags and data of TCP, by the identification of IPv4 and the payload of others,
// inside the tunnel if there is one. Where a director changes sequence numbers, too (FTP,
// SYN proxy), it is recognised by its IPv4 identification. So nothing has to be asked of
// the director, and what it does wrong shows.
package journey

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"uvs/lab"
)

// Journey is the way of one packet.
type Journey struct {
	Number     int       `json:"number"`
	Connection int       `json:"connection,omitempty"` // both directions of a connection have one number
	Began      time.Time `json:"time"`
	Packet     string    `json:"packet"` // as it was first seen
	Way        []string  `json:"way"`    // nodes, in order
	To         []string  `json:"to"`     // where it was seen last: one node, or those that a broadcast reached
	Lost       string    `json:"lost,omitempty"`
	Copy       bool      `json:"copy,omitempty"`   // a link delivered it a second time
	Joined     bool      `json:"joined,omitempty"` // it went on as a part of a larger packet
	Changes    []Change  `json:"changes,omitempty"`
	Hops       []Hop     `json:"hops"`

	matches bool
	pending int // legs on which it may still be seen
}

// Hop is one sight of the packet.
type Hop struct {
	Link      string    `json:"link"`
	Node      string    `json:"node"`
	Direction string    `json:"direction"` // out: the node sent it; in: it received it
	Time      time.Time `json:"time"`
	Packet    string    `json:"packet"`
	Tunnel    string    `json:"tunnel,omitempty"` // the outer packet
	TTL       uint8     `json:"ttl,omitempty"`
	Length    int       `json:"length"` // of the frame, in bytes
	From      string    `json:"mac_from"`
	To        string    `json:"mac_to"`

	after  int // the hop before, -1 for the first
	packet *packet
}

// Change is what a node changed of the packet.
type Change struct {
	Node string `json:"node"`
	What string `json:"what"`
}

// took returns the time from the first hop to the last.
func (j *Journey) took() time.Duration { return j.Hops[len(j.Hops)-1].Time.Sub(j.Began) }

// finish tells the way in words, once no more hops will come.
func (j *Journey) finish(roles map[string]lab.Role, owners map[mac]string) {
	children := make([][]int, len(j.Hops))
	for i := range j.Hops[1:] {
		parent := j.Hops[i+1].after
		children[parent] = append(children[parent], i+1)
	}
	at := 0
	for j.pass(j.Hops[at].Node); len(children[at]) == 1; at = children[at][0] {
		next := children[at][0]
		j.pass(j.Hops[next].Node)
		if what := changed(&j.Hops[at], &j.Hops[next], roles, owners); what != "" {
			j.Changes = append(j.Changes, Change{j.Hops[at].Node, what})
		}
	}
	j.To = []string{j.Hops[at].Node}
	if len(children[at]) > 1 {
		j.To = nil
		for _, c := range children[at] {
			j.To = append(j.To, j.Hops[c].Node)
		}
		slices.Sort(j.To)
		j.To = slices.Compact(j.To)
	}
}

func (j *Journey) pass(node string) {
	if len(j.Way) == 0 || j.Way[len(j.Way)-1] != node {
		j.Way = append(j.Way, node)
	}
}

// changed tells what a node changed between receiving and sending a packet, "" if nothing
// that matters.
func changed(in, out *Hop, roles map[string]lab.Role, owners map[mac]string) string {
	if in.Node != out.Node {
		return ""
	}
	a, b := in.packet, out.packet
	var all []string
	if b.flow.Source() != a.flow.Source() {
		all = append(all, fmt.Sprintf("source %s → %s", end(a, a.flow.Source()), end(b, b.flow.Source())))
	}
	if b.flow.Destination() != a.flow.Destination() {
		all = append(all, fmt.Sprintf("destination %s → %s", end(a, a.flow.Destination()), end(b, b.flow.Destination())))
	}
	if a.seq != b.seq || a.ack != b.ack {
		all = append(all, "sequence numbers")
	}
	if a.tunnel != b.tunnel {
		switch {
		case b.tunnel != "":
			all = append(all, "into a tunnel, "+b.tunnel)
		default:
			all = append(all, "out of the tunnel")
		}
	}
	if len(all) == 0 && roles[in.Node] == lab.Director {
		if owner := owners[b.dst]; owner != "" {
			return fmt.Sprintf("only the MAC addresses, to %s's, %s", owner, out.To)
		}
		return "only the MAC addresses, to " + out.To
	}
	return strings.Join(all, ", ")
}

func end(p *packet, a netip.AddrPort) string {
	if p.ports {
		return a.String()
	}
	return a.Addr().String()
}

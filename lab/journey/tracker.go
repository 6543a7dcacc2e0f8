package journey

import (
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/tracefilter"
	"uvs/lab"
	"uvs/lab/capture"
)

// place is where a packet is between two sights: in a node, or on a network on its way from
// one interface to another.
type place struct {
	node     string
	network  string
	src, dst mac
}

type key struct {
	place
	identity
}

// byIdent finds a packet in a node whose sequence numbers were changed.
type byIdent struct {
	node  string
	proto uint8
	ident uint16
}

// leg is a part of a journey that has begun and has not been seen to end.
type leg struct {
	journey  *Journey
	hop      int // from which it goes on
	place    place
	packet   *packet
	until    time.Time // when it is given up
	arrivals int       // of those that it can have
	possible int
}

func (l *leg) done() bool { return l.arrivals >= l.possible }

// Times after which a leg is given up.
const (
	inNode = 500 * time.Millisecond // it was for the node itself, or dropped there
	onLink = 800 * time.Millisecond // it was lost, or its link is slower than that
)

// maxOpen is how many journeys may wait for their end.
const maxOpen = 10_000

// Tracker follows packets. It belongs to one goroutine.
type Tracker struct {
	reader  *Reader
	beside  bool // packets that only look for neighbours, too
	roles   map[string]lab.Role
	ends    map[string]bool // nodes that forward nothing
	onNet   map[string]int  // interfaces of a network
	owners  map[mac]string  // of frames: the node
	slowest time.Duration   // what a link may add

	legs   map[key][]*leg
	idents map[byIdent][]*leg
	parts  map[place][]*leg // segments of TCP
	queues [2][]*leg        // all legs: in nodes and on links, in the order in which they are given up
	open   []*Journey
	number int

	conns       map[frame.Flow]int
	connections int
}

// NewTracker returns a tracker of packets in a lab. It tells the journeys of those that
// match the filter at some point of their way, and of those that only look for neighbours or
// groups if they are wanted.
func NewTracker(t *lab.Topology, filter *tracefilter.Filter, neighbours bool) *Tracker {
	tr := &Tracker{
		reader: NewReader(filter), beside: neighbours,
		roles: map[string]lab.Role{}, ends: map[string]bool{}, onNet: map[string]int{}, owners: map[mac]string{},
		legs: map[key][]*leg{}, idents: map[byIdent][]*leg{}, parts: map[place][]*leg{}, conns: map[frame.Flow]int{},
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		tr.roles[n.Name] = n.Role
		tr.ends[n.Name] = !n.Forward && (n.Role == lab.Client || n.Role == lab.Real)
		for k, iface := range n.Interfaces {
			tr.onNet[iface.Network]++
			tr.owners[mac(t.MAC(i, k))] = n.Name
		}
	}
	return tr
}

// Slowest says how long the slowest link holds a frame; the tracker waits so much longer for one.
func (t *Tracker) Slowest(d time.Duration) { t.slowest = d }

// Frames takes frames in the order of their times, and returns the journeys that are
// finished, in the order in which they began. Up to a moment all frames have come.
func (t *Tracker) Frames(frames []capture.Frame, until time.Time) []*Journey {
	for i := range frames {
		t.expire(frames[i].Time)
		if frames[i].Out || frames[i].Kind != unix.PACKET_OTHERHOST { // a bridge that does not know yet where its receiver is
			t.see(&frames[i])
		}
	}
	t.expire(until)
	n := 0
	for n < len(t.open) && (t.open[n].pending == 0 || len(t.open)-n > maxOpen) {
		n++
	}
	finished := t.open[:n:n]
	t.open = t.open[n:]
	return t.told(finished)
}

// End returns the journeys that have not been seen to end.
func (t *Tracker) End() []*Journey {
	rest := t.open
	t.open = nil
	return t.told(rest)
}

// told completes journeys, and leaves out those that do not match.
func (t *Tracker) told(all []*Journey) (matching []*Journey) {
	for _, j := range all {
		if j.matches {
			t.connect(j)
			t.number++
			j.Number = t.number
			j.finish(t.roles, t.owners)
			matching = append(matching, j)
		}
	}
	return matching
}

// see notes one sight of a packet.
func (t *Tracker) see(f *capture.Frame) {
	p := t.reader.read(f)
	if p.neighbours && !t.beside {
		return
	}
	hop := Hop{
		Link: f.Link.String(), Node: f.Link.Node, Direction: "in", Time: f.Time, Packet: p.words, Tunnel: p.tunnel,
		TTL: p.ttl, Length: f.Length, From: net.HardwareAddr(p.src[:]).String(), To: net.HardwareAddr(p.dst[:]).String(), packet: p,
	}
	link := place{network: f.Link.Network, src: p.src, dst: p.dst}
	if f.Out {
		hop.Direction = "out"
		l := t.find(place{node: f.Link.Node}, p)
		j, at := t.extend(l, hop)
		receivers := 1
		if p.dst.group() {
			receivers = t.onNet[f.Link.Network] - 1
		}
		t.await(&leg{journey: j, hop: at, place: link, packet: p, possible: receivers, until: f.Time.Add(onLink + t.slowest)})
		return
	}
	l := t.find(link, p)
	j, at := t.extend(l, hop)
	if l != nil && l.arrivals > l.possible {
		j.Copy = true
	}
	t.join(l, p)
	if !t.ends[f.Link.Node] && !p.dst.group() {
		t.await(&leg{journey: j, hop: at, place: place{node: f.Link.Node}, packet: p, possible: 1, until: f.Time.Add(inNode + t.slowest)})
	}
}

// extend adds a hop to the journey of a leg, or to a new one if there is no leg or it has
// arrived already. It returns the journey and the hop's index.
func (t *Tracker) extend(l *leg, hop Hop) (*Journey, int) {
	if l != nil {
		l.arrivals++
		if l.arrivals <= l.possible {
			j := l.journey
			if l.done() {
				j.pending--
			}
			hop.after = l.hop
			j.Hops = append(j.Hops, hop)
			j.matches = j.matches || hop.packet.matches
			return j, len(j.Hops) - 1
		}
	}
	hop.after = -1
	j := &Journey{Began: hop.Time, Packet: hop.Packet, Hops: []Hop{hop}, matches: hop.packet.matches}
	t.open = append(t.open, j)
	return j, 0
}

// await waits for a packet to be seen again.
func (t *Tracker) await(l *leg) {
	if l.possible == 0 {
		return
	}
	l.journey.pending++
	k := key{l.place, l.packet.identity}
	t.legs[k] = append(t.legs[k], l)
	queue := 0
	if l.place.node == "" {
		queue = 1
	} else if l.packet.ident != 0 {
		i := byIdent{l.place.node, l.packet.proto, l.packet.ident}
		t.idents[i] = append(t.idents[i], l)
	}
	if l.packet.segment() {
		t.parts[l.place] = append(t.parts[l.place], l)
	}
	t.queues[queue] = append(t.queues[queue], l)
}

// find returns the oldest leg on which a packet may be, nil if there is none. Of a link it
// may be one that has arrived: then this is a copy.
func (t *Tracker) find(where place, p *packet) *leg {
	all := t.legs[key{where, p.identity}]
	if i := slices.IndexFunc(all, func(l *leg) bool { return !l.done() }); i >= 0 {
		return all[i]
	}
	if p.segment() { // a larger or smaller piece of the same data
		for _, l := range t.parts[where] {
			if !l.done() && l.packet.seq == p.seq && l.packet.ack == p.ack {
				return l
			}
		}
	}
	if where.node == "" {
		if len(all) > 0 {
			return all[len(all)-1]
		}
		return nil
	}
	for _, l := range t.idents[byIdent{where.node, p.proto, p.ident}] {
		if p.ident != 0 && !l.done() && l.packet.length == p.length && l.packet.kind == p.kind {
			return l
		}
	}
	return nil
}

// join ends the legs of other segments that arrived as a part of this one.
func (t *Tracker) join(l *leg, p *packet) {
	if l == nil || !p.segment() || p.length <= l.packet.length {
		return
	}
	for _, o := range t.parts[l.place] {
		if o != l && !o.done() && int32(o.packet.seq-p.seq) > 0 && int32(p.end()-o.packet.end()) >= 0 {
			o.arrivals = o.possible
			o.journey.pending--
			o.journey.Joined = true
		}
	}
}

// expire gives up the legs whose time has passed.
func (t *Tracker) expire(now time.Time) {
	for q := range t.queues {
		n := 0
		for ; n < len(t.queues[q]) && t.queues[q][n].until.Before(now); n++ {
			t.giveUp(t.queues[q][n])
		}
		t.queues[q] = t.queues[q][n:]
	}
}

func (t *Tracker) giveUp(l *leg) {
	remove(t.legs, key{l.place, l.packet.identity}, l)
	remove(t.idents, byIdent{l.place.node, l.packet.proto, l.packet.ident}, l)
	remove(t.parts, l.place, l)
	if l.done() {
		return
	}
	l.journey.pending--
	if l.place.node == "" && l.arrivals == 0 && !l.place.dst.group() {
		l.journey.Lost = t.owners[l.place.dst]
		if l.journey.Lost == "" {
			l.journey.Lost = net.HardwareAddr(l.place.dst[:]).String()
		}
	}
	l.arrivals = l.possible
}

func remove[K comparable](m map[K][]*leg, k K, l *leg) {
	if rest := slices.DeleteFunc(m[k], func(o *leg) bool { return o == l }); len(rest) > 0 {
		m[k] = rest
	} else {
		delete(m, k)
	}
}

// maxConns is how many connections are told apart.
const maxConns = 100_000

// connect gives a journey the number of its connection, which is that of any flow that it
// had on its way, in either direction.
func (t *Tracker) connect(j *Journey) {
	var flows []frame.Flow
	for i := range j.Hops {
		if p := j.Hops[i].packet; p.ports {
			flows = append(flows, p.flow)
			if n := t.conns[p.flow]; n > 0 {
				j.Connection = n
			}
		}
	}
	if len(flows) == 0 {
		return
	}
	if j.Connection == 0 {
		if len(t.conns) > maxConns {
			clear(t.conns)
		}
		t.connections++
		j.Connection = t.connections
	}
	for _, f := range flows {
		t.conns[f], t.conns[f.Reverse()] = j.Connection, j.Connection
	}
}

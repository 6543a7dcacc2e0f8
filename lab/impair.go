package lab

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/vishvananda/netlink"

	"uvs/lab/wire"
)

// links are those of a running lab that are not as they were built: impaired, or without
// their cable.
type links struct {
	mu  sync.Mutex
	all map[leg]*link
}

// link is the state of one link.
type link struct {
	leg
	wire.Both
	down bool
	seed uint64
	wire *wire.Wire // nil: the kernel carries the frames
}

// seed is that of a wire if nobody gives another one. It is the same each time, so that a
// lesson repeats exactly.
func (t *Topology) seed() uint64 { return cmp.Or(t.Seed, DefaultSeed) }

// linkAt returns the state of a link. The caller holds the lock.
func (s *supervisor) linkAt(l leg) *link {
	if s.links.all == nil {
		s.links.all = map[leg]*link{}
	}
	if s.links.all[l] == nil {
		s.links.all[l] = &link{leg: l, seed: s.Topology.seed()}
	}
	return s.links.all[l]
}

// impairAtStart gives the links what the topology says of them.
func (s *supervisor) impairAtStart() error {
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	for n := range s.Topology.Nodes {
		for i, iface := range s.Topology.Nodes[n].Interfaces {
			if iface.Impair == (wire.Impairment{}) {
				continue
			}
			if err := s.impair(s.linkAt(leg{n, i}), wire.Both{In: iface.Impair, Out: iface.Impair}); err != nil {
				return err
			}
		}
	}
	return nil
}

// relink answers a request about links.
func (s *supervisor) relink(c *net.UnixConn, r *request) error {
	if r.Op == opHeal {
		if err := s.heal(); err != nil {
			return err
		}
		return reply(c, answer{Started: true})
	}
	if r.Link == nil {
		return errors.New("lab: a change of a link names none")
	}
	st, err := s.changeLink(r.Link)
	if err != nil {
		return err
	}
	return reply(c, answer{Links: []LinkStatus{*st}})
}

// changeLink does what a LinkChange says.
func (s *supervisor) changeLink(c *LinkChange) (*LinkStatus, error) {
	at, err := s.Topology.link(c.Link)
	if err != nil {
		return nil, err
	}
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	l := s.linkAt(at)
	to, err := c.merge(l.Both)
	if err != nil {
		return nil, err
	}
	if c.Seed != nil {
		l.seed = *c.Seed
		if l.wire != nil {
			l.wire.Reseed(l.seed)
		}
	}
	if err := s.impair(l, to); err != nil {
		return nil, err
	}
	all, err := s.linkStatus(at)
	if err != nil {
		return nil, err
	}
	return &all[0], nil
}

// merge returns what a link's two directions become.
func (c *LinkChange) merge(is wire.Both) (to wire.Both, err error) {
	to = is
	if c.Only != Out {
		to.In, err = is.In.Merge(c.Words)
	}
	if c.Only != In && err == nil {
		to.Out, err = is.Out.Merge(c.Words)
	}
	switch {
	case err != nil:
		return is, fmt.Errorf("lab: link %s: %w", c.Link, err)
	case c.Only != "" && c.Only != In && c.Only != Out:
		return is, fmt.Errorf("lab: link %s: direction %q: it is %s, to the node, or %s, from it", c.Link, c.Only, In, Out)
	case to.In.Down != to.Out.Down:
		return is, fmt.Errorf("lab: link %s: a cable is pulled for both directions", c.Link)
	}
	return to, nil
}

// heal makes all links perfect again.
func (s *supervisor) heal() error {
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	var failed error
	for _, l := range s.links.all {
		failed = errors.Join(failed, s.impair(l, wire.Both{}))
	}
	return failed
}

// impair makes a link what to says. The caller holds the lock.
func (s *supervisor) impair(l *link, to wire.Both) error {
	name := s.Topology.linkName(l.leg)
	if s.Topology.fixed() {
		return fmt.Errorf("lab: link %s: lab %s belongs to a measurement, whose links stay as they are", name, s.Name)
	}
	nl, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("lab: netlink: %w", err)
	}
	defer nl.Close()
	if to.In.Down != l.down {
		if err := setLink(nl, s.Topology.portName(l.leg), !to.In.Down); err != nil {
			return err
		}
		l.down, l.In.Down, l.Out.Down = to.In.Down, to.In.Down, to.In.Down
	}
	switch perfect := to.In.Perfect() && to.Out.Perfect(); {
	case !perfect && l.wire == nil:
		err = s.putWireIn(nl, l, to)
	case perfect && l.wire != nil:
		err = s.takeWireOut(nl, l)
	case l.wire != nil:
		l.wire.Change(to)
	}
	if err != nil {
		return fmt.Errorf("lab: link %s: %w", name, err)
	}
	l.Both = to
	return nil
}

// Names of the two ends of the veth pair by which a wire reaches the bridge.
func (t *Topology) bridgeSide(l leg) string { return fmt.Sprintf("w%d.%d", t.number(l.node), l.iface) }
func (t *Topology) wireSide(l leg) string   { return fmt.Sprintf("x%d.%d", t.number(l.node), l.iface) }

// putWireIn takes a link's port out of the bridge, puts another one in its place, and a wire
// between the two. The node's interface and its carrier are not touched.
//
//	before   eth0 ═ port ─ bridge
//	after    eth0 ═ port ─ wire ─ wireSide ═ bridgeSide ─ bridge
func (s *supervisor) putWireIn(nl *netlink.Handle, l *link, to wire.Both) (err error) {
	port, err := nl.LinkByName(s.Topology.portName(l.leg))
	if err != nil {
		return fmt.Errorf("%s: %w", s.Topology.portName(l.leg), err)
	}
	near, err := s.addBridgePort(nl, l.leg)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.backToBridge(nl, l.leg))
		}
	}()
	if err != nil {
		return err
	}
	w, err := wire.Open(s.Topology.linkName(l.leg), port.Attrs().Index, near.Attrs().Index, to, l.seed)
	if err != nil {
		return err
	}
	// What arrives between these two steps is lost, as when a plug is moved.
	if err = nl.LinkSetNoMaster(port); err == nil {
		err = w.Start()
	}
	if err != nil {
		w.Close()
		return err
	}
	l.wire = w
	return nil
}

// addBridgePort makes the veth pair of a wire, with one end in the bridge, and returns the
// other when both carry frames.
func (s *supervisor) addBridgePort(nl *netlink.Handle, l leg) (netlink.Link, error) {
	n := s.Topology.Network(s.Topology.Nodes[l.node].Interfaces[l.iface].Network)
	br, err := nl.LinkByName(n.Name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", n.Name, err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = s.Topology.bridgeSide(l), n.mtu(), br.Attrs().Index
	if err := nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: s.Topology.wireSide(l), PeerMTU: uint32(n.mtu())}); err != nil {
		return nil, fmt.Errorf("veth: %w", err)
	}
	for _, name := range []string{s.Topology.bridgeSide(l), s.Topology.wireSide(l)} {
		if err := setLink(nl, name, true); err != nil {
			return nil, err
		}
	}
	var near netlink.Link
	return near, await("the wire's port to run", func() (bool, error) {
		far, err := nl.LinkByName(s.Topology.bridgeSide(l))
		if err == nil {
			near, err = nl.LinkByName(s.Topology.wireSide(l))
		}
		return err == nil && far.Attrs().OperState == netlink.OperUp && near.Attrs().OperState == netlink.OperUp, err
	})
}

// takeWireOut undoes putWireIn.
func (s *supervisor) takeWireOut(nl *netlink.Handle, l *link) error {
	l.wire.Close()
	l.wire = nil
	return s.backToBridge(nl, l.leg)
}

// backToBridge gives a port its place in the bridge again, if it has lost it, and removes the
// wire's own.
func (s *supervisor) backToBridge(nl *netlink.Handle, l leg) error {
	port, err := nl.LinkByName(s.Topology.portName(l))
	if err != nil {
		return fmt.Errorf("%s: %w", s.Topology.portName(l), err)
	}
	br, err := nl.LinkByName(s.Topology.Nodes[l.node].Interfaces[l.iface].Network)
	if err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	if port.Attrs().MasterIndex == 0 {
		if err := nl.LinkSetMaster(port, br); err != nil {
			return fmt.Errorf("%s: %w", s.Topology.portName(l), err)
		}
	}
	far, err := nl.LinkByName(s.Topology.bridgeSide(l))
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = nl.LinkDel(far)
	}
	return err
}

// linkStatus returns how links are. The caller holds the lock.
func (s *supervisor) linkStatus(which ...leg) ([]LinkStatus, error) {
	nl, err := netlink.NewHandle()
	if err != nil {
		return nil, fmt.Errorf("lab: netlink: %w", err)
	}
	defer nl.Close()
	ports, err := nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("lab: links: %w", err)
	}
	counted := map[string]*netlink.LinkStatistics{}
	for _, p := range ports {
		counted[p.Attrs().Name] = p.Attrs().Statistics
	}
	var all []LinkStatus
	for _, at := range which {
		st := s.Topology.newStatus(at)
		if l := s.links.all[at]; l != nil {
			l.describe(&st)
		}
		if n := counted[st.Port]; n != nil && st.Path == KernelPath {
			st.In.Arrived, st.In.Passed = n.TxPackets, n.TxPackets
			st.Out.Arrived, st.Out.Passed = n.RxPackets, n.RxPackets
		}
		all = append(all, st)
	}
	return all, nil
}

// newStatus is the status of a link as it was built.
func (t *Topology) newStatus(l leg) LinkStatus {
	n := &t.Nodes[l.node]
	st := LinkStatus{Name: t.linkName(l), Node: n.Name, Interface: ethName(l.iface), Network: n.Interfaces[l.iface].Network,
		Path: KernelPath, Impair: &wire.Impairment{}, Seed: t.seed()}
	if !t.direct(st.Network) {
		st.Port = t.portName(l)
	}
	return st
}

// describe fills in what is not as it was built.
func (l *link) describe(st *LinkStatus) {
	st.Down, st.Seed = l.down, l.seed
	if st.In.Impair, st.Out.Impair = l.In, l.Out; l.In == l.Out {
		*st.Impair = l.In
	} else {
		st.Impair = nil
	}
	if l.wire != nil {
		st.Path = WirePath
		st.Out.Counters, st.In.Counters = l.wire.Counters()
	}
}

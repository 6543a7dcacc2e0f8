package forwarder

import (
	"context"
	"sync/atomic"

	"uvs/forwarder/filter"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
)

// linkState is an interface as the workers see it.
type linkState struct {
	neigh.Link
	used     bool         // the director works on what arrives
	ownPorts bool         // it has ports of its own
	busy     *atomic.Bool // TCP that arrived on it was forwarded
}

// ports returns which ports send on the interface: those of the interface with the
// index returned, 0 for the shared ones. Packets to the host have ports of their own.
func (l *linkState) ports() int {
	if l.ownPorts || l.Loopback {
		return l.Index
	}
	return 0
}

// linkSet is an immutable set of interfaces, found by index.
type linkSet struct {
	links []linkState
	slots []*linkState // by index, the next free one after it where that is taken
}

// linksOf returns the set of the interfaces a director may work on, and of the loopback
// interface where the host's own packets are redirected to it.
func (fw *Forwarder) linksOf(all []neigh.Link) *linkSet {
	s, old := &linkSet{}, fw.links.Load()
	for _, l := range all {
		busy := &atomic.Bool{}
		if was := old.byIndex(l.Index); was != nil {
			busy = was.busy
		}
		s.links = append(s.links, linkState{
			Link: l, ownPorts: fw.conf.Driver.OwnPorts(l), busy: busy,
			used: fw.usesLink(l) || l.Loopback && fw.redirectsHost(),
		})
	}
	size := 8
	for size < 4*len(s.links) {
		size *= 2
	}
	s.slots = make([]*linkState, size)
	for i := range s.links {
		at := s.links[i].Index & (size - 1)
		for s.slots[at] != nil {
			at = (at + 1) & (size - 1)
		}
		s.slots[at] = &s.links[i]
	}
	return s
}

// byIndex returns an interface, nil if it is not in the set.
func (s *linkSet) byIndex(index int) *linkState {
	if len(s.slots) == 0 {
		return nil
	}
	mask := len(s.slots) - 1
	for at := index & mask; s.slots[at] != nil; at = (at + 1) & mask {
		if s.slots[at].Index == index {
			return s.slots[at]
		}
	}
	return nil
}

// named returns an interface by its name, nil if it is not in the set.
func (s *linkSet) named(name string) *linkState {
	for i := range s.links {
		if s.links[i].Name == name {
			return &s.links[i]
		}
	}
	return nil
}

// usedLinks returns the names of the interfaces the director works on.
func (fw *Forwarder) usedLinks() []string {
	var names []string
	links := fw.links.Load().links
	for i := range links {
		if l := &links[i]; l.used && !l.Loopback {
			names = append(names, l.Name)
		}
	}
	return names
}

// filter returns the interfaces for the filter of the shared ports.
func (s *linkSet) filter() *filter.Links {
	f := &filter.Links{}
	for i := range s.links {
		l := &s.links[i]
		switch {
		case !l.used || l.ownPorts:
		case l.Loopback:
			f.Loopback = l.Index
		case l.Ethernet:
			f.Ethernet = append(f.Ethernet, l.Index)
		default:
			f.Bare = append(f.Bare, l.Index)
		}
	}
	return f
}

// markBusy records that TCP which arrived on an interface is forwarded.
func (fw *Forwarder) markBusy(l *linkState) {
	if _, ok := fw.conf.Driver.(port.Joiner); !l.busy.CompareAndSwap(false, true) || !ok {
		return
	}
	select {
	case fw.busy <- l.Link:
	default:
		l.busy.Store(false) // too many at once: its next packet asks again
	}
}

// joinLinks makes the driver prepare interfaces that are used, until the context ends.
func (fw *Forwarder) joinLinks(ctx context.Context) {
	d, ok := fw.conf.Driver.(port.Joiner)
	for ok {
		select {
		case <-ctx.Done():
			return
		case l := <-fw.busy:
			d.Join(l)
		}
	}
}

package forwarder

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/net/bpf"

	"uvs/forwarder/filter"
	"uvs/forwarder/plan"
	"uvs/forwarder/port"
)

// filter returns the program for the present configuration and a kind of port.
func (fw *Forwarder) filter(k portKind) ([]bpf.RawInstruction, error) {
	fw.planLock.Lock()
	defer fw.planLock.Unlock()
	p := fw.applied
	if p == nil {
		p = fw.newPlan()
	}
	return p.Filters().Build(filter.DefaultLimit, fw.scope(p, k))
}

// scope returns what the filter of a kind of port is for. A mark for a whole network
// admits all packets.
func (fw *Forwarder) scope(p *plan.Plan, k portKind) filter.Scope {
	s := filter.Scope{All: p.AdmitsAll(), Host: k == loopOnly}
	if k == shared {
		s.Links = fw.links.Load().filter()
	}
	return s
}

// setFilters sets on all open ports the most exact filter of the plan that they accept,
// unless they have it.
func (fw *Forwarder) setFilters(p *plan.Plan) error {
	fw.mu.Lock()
	defer fw.mu.Unlock()
	for _, k := range []portKind{shared, own, loopOnly} {
		if !slices.ContainsFunc(fw.queue, func(q namedPort) bool { return q.kind == k }) {
			continue
		}
		set := func(program []bpf.RawInstruction) error { return fw.setFilter(k, program) }
		if err := p.Filters().Install(int(k), fw.scope(p, k), set); err != nil {
			return fmt.Errorf("forwarder: filter: %w", err)
		}
	}
	return nil
}

// setFilter gives a program to the ports of a kind. The caller holds mu.
func (fw *Forwarder) setFilter(k portKind, program []bpf.RawInstruction) error {
	for _, q := range fw.queue {
		p, ok := q.port.(port.FilterSetter)
		if !ok || q.kind != k {
			continue
		}
		err := p.SetFilter(program)
		if errors.Is(err, net.ErrClosed) {
			continue // its interface is being removed; one that is added uses the plan of that time
		}
		if err != nil {
			return fmt.Errorf("%s queue %d: %w", q.link, q.queue, err)
		}
	}
	return nil
}

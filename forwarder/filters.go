package forwarder

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"golang.org/x/net/bpf"

	"uvs/forwarder/filter"
)

// filter returns the rules for the filter of the ports. A mark for a whole
// network admits all packets.
func (p *plan) filter() filter.Rules {
	r := filter.Rules{Local: p.alone()}
	for _, t := range p.tuples {
		r.Virtual = append(r.Virtual, filter.Tuple{Proto: t.proto, Addr: t.addr, Port: dataPorts(t.proto, t.port)})
	}
	for _, t := range p.replyTuples() {
		r.Servers = append(r.Servers, filter.Tuple{Proto: t.proto, Addr: t.addr, Port: t.port})
	}
	for _, m := range p.marks {
		switch {
		case !m.served:
		case m.Dst.IsSingleIP():
			r.Virtual = append(r.Virtual, filter.Tuple{Proto: uint8(m.Proto), Addr: m.Dst.Addr(), Port: dataPorts(uint8(m.Proto), m.onlyPort())})
		default:
			r.All = true
		}
	}
	return r
}

// filter returns the program for the present configuration and a kind of port.
func (fw *Forwarder) filter(k portKind) ([]bpf.RawInstruction, error) {
	r := fw.plan().filter()
	fw.adapt(&r, k)
	return filter.Build(r, filter.DefaultLimit)
}

// adapt makes rules those for a kind of port.
func (fw *Forwarder) adapt(r *filter.Rules, k portKind) {
	r.Host, r.Links = k == loopOnly, nil
	if k == shared {
		r.Links = fw.links.Load().filter()
	}
}

// setFilters gives all open ports the most exact filter of the plan they take.
func (fw *Forwarder) setFilters(p *plan) error {
	fw.mu.Lock()
	defer fw.mu.Unlock()
	r := p.filter()
	for _, k := range []portKind{shared, own, loopOnly} {
		if !slices.ContainsFunc(fw.queue, func(q namedPort) bool { return q.kind == k }) {
			continue
		}
		fw.adapt(&r, k)
		if err := filter.Fit(r, func(program []bpf.RawInstruction) error { return fw.setFilter(k, program) }); err != nil {
			return fmt.Errorf("forwarder: filter: %w", err)
		}
	}
	return nil
}

// setFilter gives a program to the ports of a kind. The caller holds mu.
func (fw *Forwarder) setFilter(k portKind, program []bpf.RawInstruction) error {
	for _, q := range fw.queue {
		port, ok := q.port.(filterer)
		if !ok || q.kind != k {
			continue
		}
		err := port.SetFilter(program)
		if errors.Is(err, net.ErrClosed) {
			continue // its interface is leaving; one that joins takes the plan of then
		}
		if err != nil {
			return fmt.Errorf("%s queue %d: %w", q.link, q.queue, err)
		}
	}
	return nil
}

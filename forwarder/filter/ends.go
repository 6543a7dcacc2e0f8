package filter

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Ends are the ends of flows that belong to the director, kept sorted, so that adding
// or removing one costs little, and a change that the program in use is too coarse to
// show is recognised. The zero value is empty. What is added twice must be removed
// twice.
type Ends struct {
	dst4, src4, dst6, src6 []item

	installed map[int]*installed // of the filters that Install set, by kind of port
	Built     int                // programs built, for tests
}

// installed is the state of a filter in use.
type installed struct {
	scope     Scope
	precision precision
	limit     int  // of instructions that the kernel accepts
	stale     bool // the ends have changed in a way that shows at this precision
}

// Virtual adds a destination of packets to services, or removes it.
func (e *Ends) Virtual(t Tuple, in bool) {
	e.change(item{t.Addr.Unmap(), t.ends()}, false, in)
}

// Server adds a source of replies that need translation, or removes it: these are
// servers by NAT and FULLNAT, including removed ones that still have connections.
func (e *Ends) Server(t Tuple, in bool) { e.change(item{t.Addr.Unmap(), t.ends()}, true, in) }

// Local adds a destination that is admitted whatever the protocol and port, or removes
// it.
func (e *Ends) Local(a netip.Addr, in bool) { e.change(item{a.Unmap(), everything}, false, in) }

func (e *Ends) change(it item, source, in bool) {
	if !it.addr.IsValid() {
		return
	}
	list := e.list(source, it.addr.Is4())
	i, found := slices.BinarySearchFunc(*list, it, item.compare)
	switch {
	case in:
		*list = slices.Insert(*list, i, it)
	case found:
		*list = slices.Delete(*list, i, i+1)
	default:
		return
	}
	for _, f := range e.installed {
		if !f.stale {
			f.stale = !f.unaffected(*list, i, it, source, in)
		}
	}
}

func (e *Ends) list(source, is4 bool) *[]item {
	switch {
	case source && is4:
		return &e.src4
	case source:
		return &e.src6
	case is4:
		return &e.dst4
	}
	return &e.dst6
}

// compare orders items by address and, among those of one address, by ends.
func (it item) compare(other item) int {
	return cmp.Or(it.addr.Compare(other.addr),
		cmp.Compare(it.ends.first, other.ends.first), cmp.Compare(it.ends.last, other.ends.last))
}

// unaffected reports whether a program of this precision is the same with and without an item,
// which is at index i of the list or was removed from there: it has no ports, and a
// neighbour has the same prefix; or it admits all.
func (f *installed) unaffected(list []item, i int, it item, source, in bool) bool {
	g := f.precision
	if g.all {
		return f.scope.All || in
	}
	ports, bits := g.virtualPorts, g.bits6
	if source {
		ports = g.serverPorts
	}
	if it.addr.Is4() {
		bits = g.bits4
	}
	if ports {
		return false
	}
	prefix, _ := it.addr.Prefix(bits)
	after := i
	if in {
		after++
	}
	return i > 0 && prefix.Contains(list[i-1].addr) || after < len(list) && prefix.Contains(list[after].addr)
}

// Build returns the most exact program of at most limit instructions, which admits
// all ends. It fails only if limit is below some 20.
func (e *Ends) Build(limit int, scope Scope) ([]bpf.RawInstruction, error) {
	program, _, err := e.build(limit, &scope)
	return program, err
}

func (e *Ends) build(limit int, scope *Scope) ([]bpf.RawInstruction, precision, error) {
	limit = min(limit, DefaultLimit)
	shortest := 0
	for _, g := range precisions {
		if scope.All && !g.all || !g.all && e.least(g) > limit {
			continue
		}
		e.Built++
		program := compile(e, g, scope)
		if len(program) <= limit {
			raw, err := bpf.Assemble(program)
			return raw, g, err
		}
		shortest = len(program)
	}
	return nil, precision{}, fmt.Errorf("filter: limit of %d instructions, the shortest program has %d", limit, shortest)
}

// least returns the minimum length of a program of this precision: one instruction for each
// prefix.
func (e *Ends) least(g precision) int {
	return prefixes(e.dst4, g.bits4) + prefixes(e.src4, g.bits4) + prefixes(e.dst6, g.bits6) + prefixes(e.src6, g.bits6)
}

func prefixes(all []item, bits int) (n int) {
	for i, it := range all {
		if i > 0 {
			if p, _ := all[i-1].addr.Prefix(bits); p.Contains(it.addr) {
				continue
			}
		}
		n++
	}
	return n
}

// Install passes to set the most exact program that it accepts, unless that equals the last
// one for the same kind of port. Kernels before 6.7 charge programs to a socket memory
// of 20 KiB (net.core.optmem_max) and return ENOMEM for longer ones; Install then tries
// coarser ones, and does not return to longer ones.
func (e *Ends) Install(kind int, scope Scope, set func([]bpf.RawInstruction) error) error {
	f, limit := e.installed[kind], DefaultLimit
	if f != nil {
		if !f.stale && f.scope.equal(&scope) {
			return nil
		}
		limit = f.limit
	}
	delete(e.installed, kind)
	for ; ; limit /= 2 {
		program, g, err := e.build(limit, &scope)
		if err != nil {
			return err
		}
		err = set(program)
		if err == nil {
			e.setInstalled(kind, &installed{scope: scope, precision: g, limit: limit})
			return nil
		}
		if !errors.Is(err, unix.ENOMEM) || len(program) < 32 {
			return err
		}
	}
}

func (e *Ends) setInstalled(kind int, f *installed) {
	if e.installed == nil {
		e.installed = map[int]*installed{}
	}
	e.installed[kind] = f
}

// Equal reports whether both have the same ends.
func (e *Ends) Equal(other *Ends) bool {
	return slices.Equal(e.dst4, other.dst4) && slices.Equal(e.src4, other.src4) &&
		slices.Equal(e.dst6, other.dst6) && slices.Equal(e.src6, other.src6)
}

package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestTheFilterInUseFollowsItsEnds puts ends in and takes them out. The program in
// use is always the one of its precision, and never rejects what is wanted.
func TestTheFilterInUseFollowsItsEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e Ends
		var r Rules
		var program []bpf.RawInstruction
		memory := rapid.SampledFrom([]int{60, 120, DefaultLimit}).Draw(t, "memory")
		r.Links = rapid.SampledFrom([]*Links{nil, {Ethernet: []int{2, 5}, Bare: []int{3}, Loopback: 1}}).Draw(t, "links")
		set := func(p []bpf.RawInstruction) error {
			if len(p) > memory {
				return fmt.Errorf("set filter: %w", unix.ENOMEM)
			}
			program = p
			return nil
		}
		for range rapid.IntRange(1, 60).Draw(t, "changes") {
			changeEnds(t, &e, &r)
			if err := e.Install(7, r.scope(), set); err != nil {
				t.Fatal(err)
			}
			fit, scope := e.installed[7], r.scope()
			if want, _ := bpf.Assemble(compile(&e, fit.precision, &scope)); !slices.Equal(program, want) {
				t.Fatalf("the program in use has %d instructions, a new one of the same precision %+v %d", len(program), fit.precision, len(want))
			}
			if p := drawPacket(t, &r); r.Links == nil && r.wants(p) && !vmOf(t, program)(p.bytes()) {
				t.Fatalf("%+v is rejected", p)
			}
		}
		if !e.Equal(r.ends()) {
			t.Fatalf("the ends differ from those of the rules: %+v", e)
		}
	})
}

// changeEnds makes a change in ends and rules, which may be one of All.
func changeEnds(t *rapid.T, e *Ends, r *Rules) {
	in := rapid.IntRange(0, 2).Draw(t, "in") > 0
	switch rapid.IntRange(0, 6).Draw(t, "what") {
	case 0:
		r.All = in && rapid.Bool().Draw(t, "all")
	case 1:
		if a, ok := changeOne(t, &r.Local, addrs, in); ok {
			e.Local(a, in)
		}
	case 2, 3:
		if s, ok := changeOne(t, &r.Servers, tuples, in); ok {
			e.Server(s, in)
		}
	default:
		if v, ok := changeOne(t, &r.Virtual, tuples, in); ok {
			e.Virtual(v, in)
		}
	}
}

// changeOne adds a value to a list or takes one out, and returns it if there is one.
func changeOne[V any](t *rapid.T, all *[]V, values *rapid.Generator[V], in bool) (v V, ok bool) {
	if in {
		v = values.Draw(t, "more")
		*all = append(*all, v)
		return v, true
	}
	if len(*all) == 0 {
		return v, false
	}
	i := rapid.IntRange(0, len(*all)-1).Draw(t, "gone")
	v = (*all)[i]
	*all = slices.Delete(*all, i, i+1)
	return v, true
}

func TestAnEndThatDoesNotShowCostsNoProgram(t *testing.T) {
	r := services(10000, true, 1)
	e := r.ends()
	given := 0
	set := func([]bpf.RawInstruction) error { given++; return nil }
	for range 2 {
		if err := e.Install(0, Scope{}, set); err != nil {
			t.Fatal(err)
		}
	}
	known := r.Virtual[0]
	known.Port++
	e.Virtual(known, true)
	if err := e.Install(0, Scope{}, set); err != nil || given != 1 {
		t.Errorf("a port more at a known address: %d programs, %v", given, err)
	}
	e.Virtual(Tuple{Proto: 6, Addr: netip.MustParseAddr("2001:db8::1"), Port: 80}, true)
	if err := e.Install(0, Scope{}, set); err != nil || given != 2 {
		t.Errorf("a service in a new network: %d programs, %v", given, err)
	}
}

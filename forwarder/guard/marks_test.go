package guard

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

func TestMarksGuardNetworksAndRangesOfPorts(t *testing.T) {
	client, host, server := lan(t)
	g := newGuard(t, host)
	for _, c := range []struct{ client, server, network string }{
		{"10.0.0.9", "10.1.0.11", "10.1.0.0/24"},
		{"fd00::9", "fd00:1::11", "fd00:1::/64"},
	} {
		at := func(port string) string { return net.JoinHostPort(c.server, port) }
		six := netip.MustParseAddr(c.server).Is6()
		for _, port := range []string{"79", "80", "90", "91"} {
			listen(t, server, at(port))
		}
		rule := Match{Six: six, Dst: netip.MustParsePrefix(c.network), Proto: 6, DstPorts: [2]uint16{80, 90}, Drop: true}
		set(host, g, Rules{Links: []string{"d0"}, Marks: []Match{rule}})
		expect(t, client, at("79"), "accepted", "the range begins at 80")
		expect(t, client, at("80"), "silent", "the range begins there")
		expect(t, client, at("90"), "silent", "the range ends there")
		expect(t, client, at("91"), "accepted", "the range ended at 90")

		except := Match{Six: six, Src: netip.PrefixFrom(netip.MustParseAddr(c.client), 24), Proto: 6}
		set(host, g, Rules{Links: []string{"d0"}, Marks: []Match{except, rule}})
		expect(t, client, at("80"), "accepted", "the first match excepts the client")
		rule.SrcPorts = [2]uint16{1, 1}
		set(host, g, Rules{Links: []string{"d0"}, Marks: []Match{rule}})
		expect(t, client, at("80"), "accepted", "no client has source port 1")
		rule.SrcPorts, rule.Proto = [2]uint16{}, 17
		set(host, g, Rules{Links: []string{"d0"}, Marks: []Match{rule}})
		expect(t, client, at("80"), "accepted", "the rule is for UDP")
		set(host, g, Rules{Links: []string{"d0"}})
		expect(t, client, at("80"), "accepted", "the rule is gone")
	}
}

// TestMarksInManyBlocks changes one of some hundred matches at a time: an exception
// counts before what comes after it, in whatever blocks they are, and little is made
// anew.
func TestMarksInManyBlocks(t *testing.T) {
	client, host, server := lan(t)
	g := newGuard(t, host)
	const at, tail = "10.1.0.11:80", 300
	listen(t, server, at)
	web := func(drop bool) Match {
		return Match{Dst: netip.MustParsePrefix("10.1.0.0/24"), Proto: 6, DstPorts: [2]uint16{80, 80}, Drop: drop}
	}
	var others []Match
	for i := range tail {
		others = append(others, Match{Dst: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), 32), Proto: 6, Drop: true})
	}
	marks := slices.Clone(others)
	set(host, g, Rules{Links: []string{"d0"}, Marks: marks})
	for _, c := range []struct {
		name   string
		change func()
		want   string
		work   int // rules made, at most
	}{
		{"no match yet", func() {}, "accepted", 0},
		{"a match behind all", func() { marks = append(marks, web(true)) }, "silent", 100},
		{"an exception blocks before it", func() { marks = slices.Insert(marks, 100, web(false)) }, "accepted", 200},
		{"a match before all", func() { marks = slices.Insert(marks, 0, web(true)) }, "silent", 10},
		{"an exception before that", func() { marks = slices.Insert(marks, 0, web(false)) }, "accepted", 20},
		{"and gone", func() { marks = marks[1:] }, "silent", 20},
		{"the first match gone, the exception left", func() { marks = marks[1:] }, "accepted", 20},
		{"the exception gone, the last match left", func() { marks = slices.Delete(marks, 100, 101) }, "silent", 200},
		{"a third of all gone", func() { marks = slices.Delete(marks, 100, 200) }, "silent", 300},
		{"the others gone", func() { marks = marks[len(marks)-1:] }, "silent", 300},
		{"all gone", func() { marks = []Match{} }, "accepted", 10},
	} {
		before := g.Work
		c.change()
		host.Do(func() error { return g.Change(Change{Marks: slices.Clone(marks)}) })
		expect(t, client, at, c.want, c.name)
		if n := g.Work - before; n > c.work {
			t.Errorf("%s: %d rules were made, at most %d expected", c.name, n, c.work)
		}
	}
}

// TestMarksChangedAtRandomAreThoseWanted compares the rules in the kernel, block by
// block, with the matches.
func TestMarksChangedAtRandomAreThoseWanted(t *testing.T) {
	_, host, _ := lan(t)
	g := newGuard(t, host)
	random := rand.New(rand.NewPCG(1, 2))
	var marks []Match
	set(host, g, Rules{Links: []string{"d0"}})
	for step := range 60 {
		at := random.IntN(len(marks) + 1)
		if n := random.IntN(80); random.IntN(2) == 0 {
			marks = slices.Delete(slices.Clone(marks), at, min(at+n, len(marks)))
		} else {
			fresh := make([]Match, n)
			for i := range fresh {
				fresh[i] = Match{Proto: 6, DstPorts: [2]uint16{uint16(step), uint16(100 + i)}, Drop: i%2 == 0}
			}
			marks = slices.Insert(slices.Clone(marks), at, fresh...)
		}
		host.Do(func() error { return g.Change(Change{Marks: append([]Match{}, marks...)}) })
		want, got := 0, 0
		for _, m := range marks {
			want += len(layout4.packetsOf(&m))
		}
		rules := func(chain string) []*nftables.Rule {
			all, err := g.conn.GetRules(g.table, &nftables.Chain{Table: g.table, Name: chain})
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		var kept []Match
		jumps := rules(chainMarks)
		for i, b := range g.marks[0].blocks {
			name, _ := layout4.blockChains(b)
			to, _ := jumps[i].Exprs[len(jumps[i].Exprs)-1].(*expr.Verdict)
			if to == nil || to.Chain != name {
				t.Fatalf("step %d: jump %d goes to %+v, want %s", step, i, to, name)
			}
			got += len(rules(name))
			kept = append(kept, b.matches...)
		}
		if got != want || !slices.Equal(kept, marks) || len(jumps) != len(g.marks[0].blocks) {
			t.Fatalf("step %d: %d rules in %d blocks and %d jumps, want %d rules", step, got, len(g.marks[0].blocks), len(jumps), want)
		}
	}
}

package sched_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"uvs/forwarder/frame"
	"uvs/sched"
)

func server(id int, weight int32) *sched.RealServer {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(id >> 8), byte(id)}), 80)
	return sched.NewRealServer(sched.ID(id), addr, weight, 0, 0)
}

func servers(weights ...int32) []*sched.RealServer {
	var all []*sched.RealServer
	for i, w := range weights {
		all = append(all, server(i+1, w))
	}
	return all
}

func scheduler(t testing.TB, name string, flags sched.Flags, all []*sched.RealServer) sched.Scheduler {
	t.Helper()
	s, err := sched.New(name, flags, sched.WithSeed(testSeed))
	if err != nil {
		t.Fatal(err)
	}
	sched.AddAll(s, all)
	return s
}

// client is the flow of the nth client to a VIP that depends on n too.
func client(n int) *frame.Flow {
	f := frame.FlowOf(frame.ProtoTCP,
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16, byte(n >> 8), byte(n)}), 1024),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(n >> 8), byte(n)}), 80))
	return &f
}

func ids(s sched.Scheduler, picks int) []sched.ID {
	var got []sched.ID
	for n := range picks {
		var id sched.ID
		if p := s.Pick(client(n), nil); p != nil {
			id = p.ID
		}
		got = append(got, id)
	}
	return got
}

func TestNewKnowsTheSchedulersOfIPVSByName(t *testing.T) {
	want := []string{"dh", "fo", "lblc", "lblcr", "lc", "mh", "nq", "ovf", "rr", "sed", "sh", "twos", "wlc", "wrr"}
	if diff := cmp.Diff(want, sched.Names()); diff != "" {
		t.Error(diff)
	}
	for _, name := range sched.Names() {
		if s := scheduler(t, name, 0, nil); s.Name() != name || s.Pick(client(1), nil) != nil {
			t.Errorf("%s: is called %s, or picks without servers", name, s.Name())
		}
	}
	if _, err := sched.New("best", 0); err != sched.ErrUnknown("best") {
		t.Errorf("unknown scheduler: %v", err)
	}
}

func TestWRRMeetsTheWeightsExactlyOverACycle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Int32Range(0, 30), 1, 8).Draw(t, "weights")
		unit, total := int32(0), int32(0)
		for _, w := range weights {
			unit, total = gcd(unit, w), total+w
		}
		if total == 0 {
			return
		}
		s, _ := sched.New("wrr", 0)
		sched.AddAll(s, servers(weights...))
		for cycle := range 3 {
			count := map[sched.ID]int32{}
			for _, id := range ids(s, int(total/unit)) {
				count[id]++
			}
			for i, w := range weights {
				if got := count[sched.ID(i+1)]; got != w/unit {
					t.Fatalf("cycle %d: server of weight %d picked %d times, want %d", cycle, w, got, w/unit)
				}
			}
		}
	})
}

func gcd(a, b int32) int32 {
	if b == 0 {
		return a
	}
	return gcd(b, a%b)
}

func TestMHMovesFewClientsOfOtherServersWhenOneGoes(t *testing.T) {
	for _, n := range []int{3, 10, 100} {
		all := servers(slices.Repeat([]int32{1}, n)...)
		s := scheduler(t, "mh", 0, all)
		before := ids(s, 20000)
		gone := all[n/2]
		s.Remove(gone)
		moved, own := 0, 0
		for i, id := range ids(s, 20000) {
			switch {
			case before[i] == gone.ID:
				own++
			case before[i] != id:
				moved++
			}
		}
		// The paper measures some percent more than the minimum for tables
		// about a hundred times as large as the number of servers (section 5.3).
		if own == 0 || moved > 20000/20 {
			t.Errorf("%d servers: besides the %d clients of the server gone, %d others moved", n, own, moved)
		}
	}
}

func TestMHMovesNobodyWhenAWeightBecomesZero(t *testing.T) {
	all := servers(3, 2, 1)
	s := scheduler(t, "mh", 0, all)
	before := ids(s, 5000)
	all[1].SetWeight(0)
	s.Update(all[1])
	for i, id := range ids(s, 5000) {
		if want := before[i]; want != 2 && id != want || want == 2 && id != 0 {
			t.Fatalf("client %d of server %d goes to %d", i, want, id)
		}
	}
}

// The kernel fills the table in the order of its list. Where two servers want
// one slot in the same round the order decides, so it moves a few in a thousand
// and not, as one might wish, none; the recorded trace hashmap-mh-reordered is
// met only so.
func TestMHHardlyDependsOnTheOrderOfAddition(t *testing.T) {
	all := servers(1, 1, 1, 1, 1)
	before := ids(scheduler(t, "mh", 0, all), 20000)
	slices.Reverse(all)
	moved := 0
	for i, id := range ids(scheduler(t, "mh", 0, all), 20000) {
		if before[i] != id {
			moved++
		}
	}
	if moved > 20000/100 {
		t.Errorf("%d of 20000 clients moved", moved)
	}
}

func TestMHSharesBySizeOfWeight(t *testing.T) {
	s := scheduler(t, "mh", 0, servers(1, 2, 5))
	count := map[sched.ID]int{}
	for _, id := range ids(s, 16000) {
		count[id]++
	}
	for id, want := range map[sched.ID]int{1: 2000, 2: 4000, 3: 10000} {
		if got := count[id]; got < want*9/10 || got > want*11/10 {
			t.Errorf("server %d: %d clients of some %d", id, got, want)
		}
	}
}

func TestHashSchedulersAreStableAcrossRestarts(t *testing.T) {
	for _, name := range []string{"sh", "dh", "mh"} {
		weights := []int32{1, 4, 0, 2, 7}
		one := ids(scheduler(t, name, sched.Fallback, servers(weights...)), 2000)
		two := scheduler(t, name, sched.Fallback, nil)
		for _, s := range servers(weights...) {
			two.Add(s)
		}
		if diff := cmp.Diff(one, ids(two, 2000)); diff != "" {
			t.Errorf("%s: added one by one instead of all at once:\n%s", name, diff)
		}
	}
}

func TestMHTakesMoreServersThanTheKernelCan(t *testing.T) {
	all := servers(slices.Repeat([]int32{1}, 10000)...)
	s := scheduler(t, "mh", 0, all)
	before := map[sched.ID]bool{}
	for _, id := range ids(s, 65536) {
		before[id] = true
	}
	if before[0] || len(before) < 9000 {
		t.Errorf("65536 clients reach %d of 10000 servers; nobody: %v", len(before), before[0])
	}
	for _, server := range all[:5000] { // the table follows in the background
		server.SetWeight(3)
		s.Update(server)
	}
	s.Remove(all[0]) // returns when it has
	heavy := 0
	for _, id := range ids(s, 65536) {
		if id <= 5000 {
			heavy++
		}
	}
	if heavy < 65536*68/100 || heavy > 65536*80/100 {
		t.Errorf("half of the servers with three quarters of the weight have %d of 65536 clients", heavy)
	}
	if slices.Contains(ids(s, 65536), all[0].ID) {
		t.Error("a removed server is still picked")
	}
}

// lblc is the exception that IPVS makes: it does not look at the overload state
// of the server that an address has.
func TestNoSchedulerPicksAnIneligibleServer(t *testing.T) {
	for _, name := range sched.Names() {
		p := newPair(nil, name, sched.Fallback)
		p.draw, p.heavy = rand.New(rand.NewPCG(3, 3)).IntN, 1
		p.check = func(f *frame.Flow, s *sched.RealServer) {
			if s != nil && (s.Weight() == 0 || s.Overloaded() && name != "lblc" || !slices.Contains(p.list, s)) {
				t.Fatalf("%s picks %s: weight %d, overloaded %v", name, s.Addr, s.Weight(), s.Overloaded())
			}
		}
		for range 6000 {
			p.step(12)
		}
	}
}

func TestSetFlagsKeepsTheTable(t *testing.T) {
	for _, name := range []string{"sh", "mh"} {
		all := servers(1, 1, 1)
		s := scheduler(t, name, 0, all)
		all[0].SetWeight(0)
		s.Update(all[0])
		if !slices.Contains(ids(s, 100), 0) {
			t.Errorf("%s without fallback: every client has a server", name)
		}
		sched.SetFlags(s, sched.Fallback)
		if slices.Contains(ids(s, 100), 0) {
			t.Errorf("%s with fallback: a client has no server", name)
		}
	}
}

func TestOverloadIsSetAndClearedAtTheThresholds(t *testing.T) {
	for _, c := range []struct {
		name         string
		upper, lower uint32
		clearsAt     int32
	}{
		{"below the lower threshold", 5, 2, 1},
		{"below three quarters without a lower threshold", 8, 0, 5},
		{"below equal thresholds", 5, 5, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := server(1, 1)
			s.SetThresholds(c.upper, c.lower)
			for n := uint32(1); n <= c.upper; n++ {
				if changed := s.AddCounts(0, 1, 0); changed != (n == c.upper) || s.Overloaded() != (n == c.upper) {
					t.Fatalf("%d connections: changed %v, overloaded %v", n, changed, s.Overloaded())
				}
				s.AddCounts(1, -1, 0)
			}
			for n := int32(c.upper) - 1; n >= 0; n-- {
				s.AddCounts(-1, 0, 0)
				if s.Overloaded() != (n > c.clearsAt) {
					t.Fatalf("%d connections left: overloaded %v", n, s.Overloaded())
				}
			}
		})
	}
}

func TestAnEditOfTheThresholdsIsJudgedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name                       string
		upper, lower               uint32
		connections                int32
		thenUpper, thenLower       uint32
		before, after, withOneMore bool
	}{
		{"raised, above three quarters: stays", 4, 0, 4, 5, 0, true, true, true},
		{"raised, below three quarters: cleared", 4, 0, 4, 6, 0, true, false, false},
		{"raised, not below the lower one: stays", 4, 2, 4, 10, 2, true, true, true},
		{"raised, below the lower one: cleared", 4, 4, 4, 10, 5, true, false, false},
		{"lowered to the count: set", 10, 0, 5, 5, 0, false, true, true},
		{"lowered above the count: set by the next", 10, 0, 5, 6, 0, false, false, true},
		{"taken away: cleared", 4, 0, 4, 0, 0, true, false, false},
	} {
		s := server(1, 1)
		s.SetThresholds(c.upper, c.lower)
		s.AddCounts(0, c.connections, 0)
		before := s.Overloaded()
		s.SetThresholds(c.thenUpper, c.thenLower)
		after := s.Overloaded()
		s.AddCounts(1, 0, 0)
		if before != c.before || after != c.after || s.Overloaded() != c.withOneMore {
			t.Errorf("%s: overloaded %v, then %v, with one more %v", c.name, before, after, s.Overloaded())
		}
	}
}

func TestTemplatesAreNoConnectionsToThresholds(t *testing.T) {
	s := server(1, 1)
	s.SetThresholds(1, 0)
	if s.AddCounts(0, 0, 5) || s.Overloaded() || s.Persistent() != 5 {
		t.Error("overloaded by templates")
	}
}

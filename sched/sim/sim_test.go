package sim_test

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/frame"
	"uvs/sched"
	"uvs/sched/sim"
)

func workload(scheduler string, weights ...int32) sim.Workload {
	w := sim.Workload{
		Scheduler: scheduler, Connections: 500, Rate: 100, Lasts: sim.Duration(time.Second), Seed: 1,
	}
	for _, weight := range weights {
		w.Servers = append(w.Servers, sim.Server{Weight: weight})
	}
	return w
}

func events(t *testing.T, texts ...string) (all []sim.Event) {
	t.Helper()
	for _, text := range texts {
		e, err := sim.ParseEvent(text)
		if err != nil {
			t.Fatal(err)
		}
		if e.String() != text {
			t.Errorf("%q is written as %q", text, e)
		}
		all = append(all, e)
	}
	return all
}

// run returns the report and the server of each connection.
func run(t *testing.T, w sim.Workload) (*sim.Report, []int) {
	t.Helper()
	var picks []int
	r, err := sim.Run(w, false, func(p sim.Pick) { picks = append(picks, p.Server) })
	if err != nil {
		t.Fatal(err)
	}
	return r, picks
}

func TestTheSameWorkloadAndSeedGiveTheSamePicks(t *testing.T) {
	for _, name := range sched.Names() {
		w := workload(name, 5, 3, 1)
		w.Addresses, w.Popularity, w.Lingers = 20, 1.5, sim.Duration(time.Minute)
		w.Events = events(t, "1s fail 2", "2s recover 2", "3s weight 1 0", "4s limit 3 20 10")
		_, one := run(t, w)
		_, two := run(t, w)
		if !slices.Equal(one, two) {
			t.Errorf("%s: two runs differ", name)
		}
	}
}

func TestAWorkloadSurvivesJSON(t *testing.T) {
	w := workload("sh", 5, 3)
	w.Flags = sched.Fallback
	w.Events = events(t, "1s fail 2", "1.5s add 3 2", "4s scheduler mh")
	text, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	var back sim.Workload
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	_, want := run(t, w)
	if _, got := run(t, back); !slices.Equal(want, got) {
		t.Errorf("%s runs otherwise", text)
	}
}

func TestWRRHasAllItsShares(t *testing.T) {
	r, _ := run(t, workload("wrr", 3, 1, 1))
	if r.Jain < 0.99999 || r.Servers[0].Picks != 300 || math.Round(r.Servers[0].Ideal) != 300 || r.LongestRun != 3 {
		t.Errorf("%+v, Jain index %f, longest run %d", r.Servers, r.Jain, r.LongestRun)
	}
}

func TestEventsHappenInTime(t *testing.T) {
	w := workload("rr", 1, 1)
	w.Arrivals = sim.Fixed // one each 10 ms
	w.Events = events(t, "1s fail 1", "2s recover 1", "3s remove 2", "4s add 3 1", "5s weight 1 0", "4.5s scheduler lc")
	r, picks := run(t, w)
	for _, c := range []struct {
		from, to int
		servers  []int
	}{
		{0, 99, []int{1, 2}}, {99, 199, []int{2}}, {199, 299, []int{1, 2}}, {299, 399, []int{1}}, {399, 499, []int{1, 3}},
	} {
		seen := slices.Compact(slices.Sorted(slices.Values(picks[c.from:c.to])))
		if diff := cmp.Diff(c.servers, seen); diff != "" {
			t.Errorf("connections %d to %d: %s", c.from, c.to, diff)
		}
	}
	if r.Broken < 10 || r.Broken > 100 || r.Scheduler != "rr, then lc" {
		t.Errorf("%d broken by the failure, scheduler %s", r.Broken, r.Scheduler)
	}
}

func TestConnectionsAreRefusedWhenAllServersAreFull(t *testing.T) {
	w := workload("wlc", 1, 1)
	w.Servers[0].Upper, w.Servers[1].Upper = 10, 20
	r, picks := run(t, w)
	if r.Refused == 0 || !slices.Contains(picks, 0) {
		t.Error("nobody is refused")
	}
	if r.Servers[0].PeakActive > 10 || r.Servers[1].PeakActive > 20 {
		t.Errorf("peaks %d and %d above the thresholds", r.Servers[0].PeakActive, r.Servers[1].PeakActive)
	}
}

func TestASlowServerHoldsItsConnectionsLonger(t *testing.T) {
	w := workload("rr", 1, 1)
	w.Servers[1].Slow = 5
	r, _ := run(t, w)
	if r.Servers[1].PeakActive < 2*r.Servers[0].PeakActive {
		t.Errorf("peaks %d and %d", r.Servers[0].PeakActive, r.Servers[1].PeakActive)
	}
}

func TestLawsHaveTheirMean(t *testing.T) {
	for _, law := range []sim.Law{sim.Fixed, sim.Uniform, sim.Exponential, sim.Pareto} {
		w := workload("rr", 1)
		w.Connections, w.Arrivals = 200000, law
		r, _ := run(t, w)
		if got := time.Duration(r.Elapsed).Seconds(); got < 1700 || got > 2300 {
			t.Errorf("%s: 200,000 arrivals at 100/s take %.0f s", law, got)
		}
	}
}

func TestPicksAreWrittenInLinesOfSeventyTwoColumns(t *testing.T) {
	var b strings.Builder
	p := sim.NewPicks(&b)
	for n := range 100 {
		p.Add(n)
	}
	p.Flush()
	for line := range strings.Lines(b.String()) {
		if len(line) > 73 {
			t.Errorf("%d columns: %s", len(line)-1, line)
		}
	}
	if !strings.HasPrefix(b.String(), "- 1 2 3 ") {
		t.Error(b.String())
	}
}

func TestServersAddedOneByOneBeginElsewhere(t *testing.T) {
	// In the kernel a wrr that takes another's place begins with the highest
	// weight; one whose servers come later begins as it stood without them.
	w := sim.Workload{Scheduler: "wrr", Servers: []sim.Server{{Weight: 1}, {Weight: 3}, {Weight: 2}}, Connections: 12, Rate: 1}
	first := func() (picks []int) {
		if _, err := sim.Run(w, false, func(p sim.Pick) { picks = append(picks, p.Server) }); err != nil {
			t.Fatal(err)
		}
		return picks
	}
	together := first()
	w.OneByOne = true
	each := first()
	if slices.Equal(together, each) {
		t.Errorf("both give %v", each)
	}
	for _, picks := range [][]int{together, each} {
		counts := map[int]int{}
		for _, p := range picks {
			counts[p]++
		}
		if counts[1] != 2 || counts[2] != 6 || counts[3] != 4 {
			t.Errorf("%v: two rounds of weights 1, 3, 2", counts)
		}
	}
}

func TestAWorkloadCanHaveItsOwnConnectionsAndAddresses(t *testing.T) {
	client := func(n int) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 7) }
	w := sim.Workload{Scheduler: "rr", Connections: 3, Rate: 1,
		Servers: []sim.Server{{Weight: 1, At: netip.MustParseAddrPort("203.0.113.5:53")}},
		Flow: func(n int) frame.Flow {
			return frame.FlowOf(frame.ProtoUDP, client(n), netip.MustParseAddrPort("198.51.100.1:53"))
		}}
	n := 0
	r, err := sim.Run(w, false, func(p sim.Pick) {
		if p.Flow.Src() != client(n).Addr() {
			t.Errorf("connection %d comes from %v, want %v", n, p.Flow.Src(), client(n))
		}
		n++
	})
	if err != nil || n != 3 || r.Servers[0].Addr != "203.0.113.5:53" {
		t.Errorf("%d connections, %+v, %v", n, r, err)
	}
}

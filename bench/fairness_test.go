package bench

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"testing"

	"uvs/bench/load"

	"uvs/lab/labtest"
)

// measureShortly runs a measure end to end and reads back what it writes.
func measureShortly(t *testing.T, m Measure, o Options) *Report {
	t.Helper()
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	o.Program, o.Rounds = labtest.Program(t), 1
	r, err := Run(context.Background(), m.Name, Part{m, o})
	if errors.Is(err, fs.ErrPermission) && os.Getenv("UVS_REQUIRE_NETNS") == "" {
		t.Skip("needs namespaces: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var written, printed bytes.Buffer
	if err := errors.Join(r.Write(&written), r.Print(&printed)); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + printed.String())
	back, err := ReadReport(&written)
	if err != nil {
		t.Fatal(err)
	}
	return back
}

// TestFairnessOfThePacketsIsThatOfTheSimulation sends real connections: each goes
// where the scheduler alone would have sent it.
func TestFairnessOfThePacketsIsThatOfTheSimulation(t *testing.T) {
	r := measureShortly(t, Fairness, Options{
		Targets: []load.Target{{Method: load.NAT}, {Method: load.FullNAT}}, Servers: 3,
		Fairness: FairnessOptions{Schedulers: []string{"wrr", "lblc", "sh", "twos"}, Weights: [][]int32{{3, 2, 1}}, Connections: 600, Keys: 50},
	})
	if len(r.Sharing) != 8 {
		t.Fatalf("%d cases, want 8", len(r.Sharing))
	}
	for _, s := range r.Sharing {
		if s.Verdict() != "valid" || s.Connections != 600 || s.Lost > 0 || s.Simulated != (s.Scheduler != "twos") {
			t.Errorf("%s %s: %s, %d connections, %d lost, %d as simulated, %v", s.Target, s.Scheduler, s.Verdict(),
				s.Connections, s.Lost, s.Agreed, s.Faults)
		}
		if s.Scheduler == "wrr" && (s.Jain < 1-1e-9 || s.Peak >= 2) {
			t.Errorf("wrr: Jain %v, peak %v", s.Jain, s.Peak)
		}
	}
}

func TestAnUnfitMethodIsLeftOutWithALine(t *testing.T) {
	if why := needsTranslation(load.Target{Method: load.DR}); !strings.Contains(why, "nat or fullnat") {
		t.Errorf("%q", why)
	}
}

// TestFairnessIsInvalidForLostConnectionsAndOtherPicks judges picks that no director
// made.
func TestFairnessIsInvalidForLostConnectionsAndOtherPicks(t *testing.T) {
	at := netip.MustParseAddrPort
	caseOf := func(scheduler string) *shareCase {
		return &shareCase{scheduler: scheduler, weights: []int32{1, 1}, load: load.Load{Size: 64, Flows: 6000, SYN: true, Rate: fairnessRate},
			to: at("198.18.0.10:80"), servers: []netip.AddrPort{at("198.19.0.100:80"), at("198.19.0.101:80")}}
	}
	inTurn := func() []uint16 {
		picks := []uint16{}
		for i := range 6000 {
			picks = append(picks, uint16(i%2+1))
		}
		return picks
	}
	lose := func(n int) func([]uint16) { return func(p []uint16) { clear(p[:n]) } }
	for _, test := range []struct {
		name, scheduler string
		change          func([]uint16)
		want            string
	}{
		{"as simulated", "rr", lose(0), "valid"},
		{"one connection at the wrong server", "rr", func(p []uint16) { p[100] = 3 - p[100] }, "INVALID"},
		{"18 % lost", "rr", lose(1080), "INVALID"},
		{"18 % lost where nothing is simulated", "twos", lose(1080), "INVALID"},
		{"six of 6000 lost, for which the machine may be to blame", "twos", lose(6), "incomplete"},
		{"all lost", "twos", lose(6000), "INVALID"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, picks := caseOf(test.scheduler), inTurn()
			first, err := c.simulate()
			if err != nil {
				t.Fatal(err)
			}
			if first != nil {
				picks = first
			}
			test.change(picks)
			s := FairnessTrial{Scheduler: test.scheduler, Weights: c.weights, Connections: c.load.Flows}
			if err := s.judge(c, picks); err != nil {
				t.Fatal(err)
			}
			if s.Verdict() != test.want {
				t.Errorf("%s, want %s: lost %d, agreed %d of %d", s.Verdict(), test.want, s.Lost, s.Agreed, s.Connections)
			}
		})
	}
}

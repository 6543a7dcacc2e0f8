package bench

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
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

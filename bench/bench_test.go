package bench

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"uvs/bench/load"

	"uvs/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// TestQuickForwardsAndCounts runs every mode for a moment: all are right, and
// no figure is missing.
func TestQuickForwardsAndCounts(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	o := Options{Rounds: 1, Window: 200 * time.Millisecond, Warm: 50 * time.Millisecond, Program: labtest.Program(t),
		Loads: []load.Load{{Size: 64, Flows: 100, Rate: 20_000}, {Size: 0, Flows: 100, Rate: 20_000, Reply: true}}}
	for _, m := range []load.Method{load.Null, load.DR, load.NAT, load.Tunnel, load.FullNAT} {
		o.Targets = append(o.Targets, load.Target{Method: m})
	}
	r, err := Run(context.Background(), "quick", Part{Quick, o})
	if errors.Is(err, fs.ErrPermission) && os.Getenv("UVS_REQUIRE_NETNS") == "" {
		t.Skip("needs namespaces: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) != 2*len(o.Targets)+2-2 {
		t.Fatalf("%d rows, want those of each target and of A/A, less the replies of dr and tun", len(r.Rows))
	}
	for _, row := range r.Rows {
		if row.Verdict() != "valid" || row.Rate.Median == 0 || row.CPU.Median == 0 {
			t.Errorf("%s: %s %v, rate %.0f, CPU %.0f", row.Target, row.Verdict(), row.Faults, row.Rate.Median, row.CPU.Median)
		}
	}
}

// TestConnectionsOfEachKindAreAnswered runs real connections of every kind through
// a director for a moment.
func TestConnectionsOfEachKindAreAnswered(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	kinds := []load.Kind{load.Connect, load.Request, load.PingPong, load.Bulk}
	o := Options{Rounds: 1, Window: 200 * time.Millisecond, Warm: 50 * time.Millisecond, Program: labtest.Program(t),
		Targets: []load.Target{{Method: load.NAT}}, Kinds: kinds, Conns: 5}
	r, err := Run(context.Background(), "tcp", Part{TCP, o})
	if errors.Is(err, fs.ErrPermission) && os.Getenv("UVS_REQUIRE_NETNS") == "" {
		t.Skip("needs namespaces: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := map[load.Kind]bool{}
	for _, trial := range r.TCP {
		seen[trial.Kind] = true
		if trial.PerSecond() == 0 || trial.Failed > 0 {
			t.Errorf("%s: %.0f a second, %d failed", trial.Kind, trial.PerSecond(), trial.Failed)
		}
	}
	if len(seen) != len(kinds) {
		t.Errorf("%d kinds were measured, want %d", len(seen), len(kinds))
	}
}

// TestTCPGoesThroughEveryMode opens real connections through each, with offloads
// on and off: DR and TUN too, whose servers answer the clients themselves.
func TestTCPGoesThroughEveryMode(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	targets, err := Matrix{Mode: []load.Method{load.Null, load.DR, load.NAT, load.Tunnel, load.FullNAT}, Offloads: []string{"on", "off"}}.Targets()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Rounds: 1, Window: 200 * time.Millisecond, Warm: 50 * time.Millisecond, Program: labtest.Program(t),
		Targets: targets, Kinds: []load.Kind{load.Connect, load.Bulk}, Conns: 4, Once: true}
	r, err := Run(context.Background(), "tcp", Part{TCP, o})
	if errors.Is(err, fs.ErrPermission) && os.Getenv("UVS_REQUIRE_NETNS") == "" {
		t.Skip("needs namespaces: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(r.TCPRows) != 2*8 || len(r.Notes) != 2 {
		t.Fatalf("%d rows, want each kind of 8 targets; notes %q, want why null is left out", len(r.TCPRows), r.Notes)
	}
	for _, row := range r.TCPRows {
		if row.Rate.Median == 0 || row.Failed > 0 {
			t.Errorf("%s %s: %.0f a second, %d failed", row.Target, row.Kind, row.Rate.Median, row.Failed)
		}
	}
}

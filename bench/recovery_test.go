package bench

import (
	"testing"
	"time"

	"uvs/bench/load"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// calmThen makes frames, one a millisecond, of which some were lost or slow.
func calmThen(n int, change map[int]int32) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = 50
	}
	for i, l := range change {
		all[i] = l
	}
	return all
}

func TestRecoveryIsJudgedByTheFramesThatWereFollowed(t *testing.T) {
	span := func(from, to int, l int32) map[int]int32 {
		m := map[int]int32{}
		for i := from; i < to; i++ {
			m[i] = l
		}
		return m
	}
	slow := span(1500, 1550, 900)
	for i := 1200; i < 1300; i++ {
		slow[i] = -1
	}
	slow[1520] = -1
	tests := []struct {
		name   string
		change map[int]int32
		want   RecoveryTrial
	}{
		{"nothing happens", nil, RecoveryTrial{P50: 50, P99: 50, Worst: 50}},
		{"a fifth is lost, and a backlog is worked off in 50 ms", slow,
			RecoveryTrial{Loss: 0.2, LostAtAll: 101, LastLoss: 20 * ms, Back: 50 * ms, P50: 50, P99: 50, Worst: 900}},
		{"a frame is lost before: no fault of the overload", map[int]int32{10: -1},
			RecoveryTrial{LostAtAll: 1, Earlier: 1, P50: 50, P99: 50, Worst: 50}},
		{"it never gets back", span(1000, 3000, 900), RecoveryTrial{Back: -1, P50: 50, P99: 50, Worst: 900}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var r RecoveryTrial
			f := &followedFrames{plan: load.Plan{{Rate: 1000, For: time.Second}}, every: 1, latency: calmThen(3000, test.change)}
			r.judge(f, time.Second, 1500*ms, 1500*ms)
			if diff := cmp.Diff(test.want, r, cmpopts.IgnoreFields(RecoveryTrial{}, "Timeline")); diff != "" {
				t.Error(diff)
			}
			if len(r.Timeline) != 300 || r.Timeline[0].At != -1500 {
				t.Errorf("%d pulses from %v ms, want 300 from -1500", len(r.Timeline), r.Timeline[0].At)
			}
		})
	}
}

// TestRecoveryFollowsFramesThroughAStall stops a director for a moment at a rate
// that its ring has room for.
func TestRecoveryFollowsFramesThroughAStall(t *testing.T) {
	r := measureShortly(t, Recover, Options{
		Targets: []load.Target{{Method: load.Null}, {Method: load.Tunnel}}, Window: 50 * ms, Warm: 20 * ms,
		Recovery: RecoveryOptions{Cases: []string{"overload", "stall"}, Factor: 1.2, Back: 0.05, Burners: 1,
			Before: 200 * ms, Overload: 200 * ms, After: 300 * ms, Stall: 20 * ms, Rate: 10_000},
	})
	if len(r.Recoveries) != 4 {
		t.Fatalf("%d cases, want 4", len(r.Recoveries))
	}
	for _, c := range r.Recoveries {
		if len(c.Faults) > 0 || len(c.Timeline) < 50 || c.Worst <= 0 {
			t.Errorf("%s, %s: faults %v, %d pulses, worst %v", c.Target, c.Case, c.Faults, len(c.Timeline), c.Worst)
		}
		if c.Case == "stall" && (c.Lasted < 20*ms || c.Worst < 15_000) {
			t.Errorf("%s: stopped for %v, but no frame waited longer than %.0f µs", c.Target, c.Lasted, c.Worst)
		}
	}
}

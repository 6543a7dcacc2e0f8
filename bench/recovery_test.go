package bench

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/bpf"
)

func TestAPlanCountsFramesPhaseByPhase(t *testing.T) {
	p := plan{{1000, time.Second}, {4000, 500 * ms}, {1000, time.Second}}
	for _, test := range []struct {
		at   time.Duration
		want uint64
	}{
		{0, 1}, {500 * ms, 501}, {time.Second, 1001}, {1250 * ms, 2001}, {1500 * ms, 3001},
		{2 * time.Second, 3501}, {4 * time.Second, 5501}, // the last phase has no end
	} {
		if got := p.due(test.at); got != test.want {
			t.Errorf("%d frames due after %v, want %d", got, test.at, test.want)
		}
		if got := p.at(test.want - 1); got != test.at {
			t.Errorf("frame %d is to leave at %v, want %v", test.want-1, got, test.at)
		}
	}
}

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
		want   Recovery
	}{
		{"nothing happens", nil, Recovery{P50: 50, P99: 50, Worst: 50}},
		{"a fifth is lost, and a backlog is worked off in 50 ms", slow,
			Recovery{Loss: 0.2, LostAtAll: 101, LastLoss: 20 * ms, Back: 50 * ms, P50: 50, P99: 50, Worst: 900}},
		{"a frame is lost before: no fault of the overload", map[int]int32{10: -1},
			Recovery{LostAtAll: 1, Earlier: 1, P50: 50, P99: 50, Worst: 50}},
		{"it never gets back", span(1000, 3000, 900), Recovery{Back: -1, P50: 50, P99: 50, Worst: 900}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var r Recovery
			f := &follow{plan: plan{{1000, time.Second}}, every: 1, latency: calmThen(3000, test.change)}
			r.judge(f, time.Second, 1500*ms, 1500*ms)
			if diff := cmp.Diff(test.want, r, cmpopts.IgnoreFields(Recovery{}, "Timeline")); diff != "" {
				t.Error(diff)
			}
			if len(r.Timeline) != 300 || r.Timeline[0].At != -1500 {
				t.Errorf("%d pulses from %v ms, want 300 from -1500", len(r.Timeline), r.Timeline[0].At)
			}
		})
	}
}

func TestEveryNthFlowPassesTheFilterOfAFollower(t *testing.T) {
	for _, n := range []int{1, 4, 64} {
		raw, err := eachNth(n, NAT)
		if err != nil {
			t.Fatal(err)
		}
		var program []bpf.Instruction
		for _, i := range raw {
			program = append(program, i.Disassemble())
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		s := newStream(Load{Size: 64, Flows: 256}, 7, testDst, testMAC, testMAC)
		for i := range 512 {
			got, err := vm.Run(s.take(1, 0)[0].Bytes())
			if want := i%n == 0; err != nil || got > 0 != want {
				t.Fatalf("1 in %d: frame %d passes: %v (%v)", n, i, got > 0, err)
			}
		}
	}
}

// TestRecoveryFollowsFramesThroughAStall stops a director for a moment at a rate
// that its ring has room for.
func TestRecoveryFollowsFramesThroughAStall(t *testing.T) {
	r := measureShortly(t, Recover, Options{
		Targets: []Target{{Method: Null}, {Method: Tunnel}}, Window: 50 * ms, Warm: 20 * ms,
		Strain: Strain{Cases: []string{"overload", "stall"}, Factor: 1.2, Back: 0.05, Hogs: 1,
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

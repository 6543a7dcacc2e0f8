package bench

import (
	"testing"
	"time"

	"uvs/bench/load"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const ms = time.Millisecond

func TestDisruptionIsJudgedByWhatClientsSaw(t *testing.T) {
	// Four servers, of which the fourth goes after a second.
	h := &load.HeldResult{
		Before: []uint16{1, 2, 3, 4, 4, 0},
		After:  []uint16{1, 2, 1, 1, 2, 1},
		Conns: []load.HeldConn{
			{Server: 1, Waits: []load.Wait{{At: 200 * ms, Took: 5 * ms}, {At: 1200 * ms, Took: 30 * ms}}},
			{Server: 2},
			{Server: 3, Broken: 1500 * ms},
			{Server: 4, Broken: 1500 * ms, Waits: []load.Wait{{At: 1200 * ms, Took: 900 * ms}}},
		},
		News: []load.Attempt{
			{At: 500 * ms, Took: 7 * ms, Server: 4},
			{At: 1100 * ms, Took: time.Second},
			{At: 1240 * ms, Took: time.Second},
			{At: 1300 * ms, Took: 2 * ms, Server: 1},
		},
	}
	tests := []struct {
		name  string
		event Event
		want  DisruptTrial
	}{
		{"a server that is killed takes its connections along, and a quarter of the connections may move", Killed, DisruptTrial{
			Held: 3, Broken: 1, HeldThere: 1, BrokenThere: 1,
			Keys: 5, Remapped: 3, Minimum: 2.0 / 5, // key 5 had no server; key 2 moved for nothing
			New: 3, Failed: 2, FailedFor: 240 * ms, Usual: 7 * ms, Blocked: 30 * ms,
		}},
		{"a fifth server should get a fifth of the keys, and all connections are on servers that stay", Added, DisruptTrial{
			Held: 4, Broken: 2,
			Keys: 5, Remapped: 3, Minimum: 1.0 / 5,
			New: 3, Failed: 2, FailedFor: 240 * ms, Usual: 7 * ms, Blocked: 900 * ms,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := DisruptTrial{Event: test.event, Servers: 4}
			got.judge(h, time.Second)
			test.want.Event, test.want.Servers = test.event, 4
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(DisruptTrial{}, "Timeline"), cmpopts.EquateApprox(0, 1e-9)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTheFirstAnswerOfAnAddedServerIsTimedFromTheEvent(t *testing.T) {
	d := DisruptTrial{Event: Added, Servers: 2}
	d.judge(&load.HeldResult{News: []load.Attempt{{At: 1500 * ms, Took: 2 * ms, Server: 3}, {At: 1200 * ms, Took: 5 * ms, Server: 3}, {At: 1100 * ms, Took: 4 * ms, Server: 1}}}, time.Second)
	if d.First != 205*ms || d.Blocked != 4*ms {
		t.Errorf("first %v, blocked %v; want 205ms, 4ms", d.First, d.Blocked)
	}
}

func TestTimelineHasEveryMomentBeforeAndAfterTheEvent(t *testing.T) {
	got := timeline([]load.Attempt{{At: 930 * ms, Took: 3 * ms, Server: 1}, {At: 990 * ms, Took: 1 * ms, Server: 1}, {At: 1010 * ms, Took: time.Second, Server: 0}, {At: 1120 * ms, Took: 2 * ms, Server: 2}}, time.Second)
	want := []DisruptInterval{{-100, 1, 0, 3}, {-50, 1, 0, 1}, {0, 0, 1, 0}, {50, 0, 0, 0}, {100, 1, 0, 2}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestAServerThatIsAddedBreaksNothingAndOneThatDiesOnlyItsOwn changes servers
// under real connections, translated and direct.
func TestAServerThatIsAddedBreaksNothingAndOneThatDiesOnlyItsOwn(t *testing.T) {
	r := measureShortly(t, Disrupt, Options{
		Targets: []load.Target{{Method: load.NAT}, {Method: load.DR}},
		Disrupt: DisruptOptions{Schedulers: []string{"mh"}, Events: []Event{Added, Killed}, Servers: 3, Held: 30, Keys: 60, Rate: 50,
			Detect: 100 * ms, Before: 200 * ms, After: 1500 * ms},
	})
	if len(r.Disruptions) != 4 {
		t.Fatalf("%d cases, want 4", len(r.Disruptions))
	}
	for _, d := range r.Disruptions {
		if d.Verdict() != "valid" || d.Broken > 0 || d.Held+d.HeldThere != 30 || d.Keys != 60 || d.New == 0 {
			t.Errorf("%s, %s: %+v", d.Target, d.Event, d)
		}
		if d.Event == Killed && (d.HeldThere == 0 || d.BrokenThere != d.HeldThere) {
			t.Errorf("%s: %d of %d connections to the dead server broke", d.Target, d.BrokenThere, d.HeldThere)
		}
		if d.Remapped < int(d.Minimum*60) && d.Event == Killed {
			t.Errorf("%s: %d keys moved, fewer than the dead server had", d.Target, d.Remapped)
		}
	}
}

package bench

import (
	"testing"
	"time"

	"uvs/bench/load"

	"github.com/google/go-cmp/cmp"
)

func TestARunIsDividedIntoMinutesOrHalves(t *testing.T) {
	for _, test := range []struct {
		run  time.Duration
		want []time.Duration
	}{
		{4 * time.Second, []time.Duration{2 * time.Second, 2 * time.Second}},
		{90 * time.Second, []time.Duration{45 * time.Second, 45 * time.Second}},
		{2 * time.Minute, []time.Duration{time.Minute, time.Minute}},
		{150 * time.Second, []time.Duration{time.Minute, 90 * time.Second}},
	} {
		if diff := cmp.Diff(test.want, periods(test.run)); diff != "" {
			t.Errorf("%v: %s", test.run, diff)
		}
	}
}

func TestASustainedRunIsJudgedByItsFirstAndLastMinute(t *testing.T) {
	minute := func(done, failed uint64) load.TCPTrial {
		return load.TCPTrial{Kind: load.Connect, Window: time.Minute, Done: done, Failed: failed}
	}
	for _, test := range []struct {
		name    string
		minutes []load.TCPTrial
		verdict string
		ratio   float64
	}{
		{"as fast at the end as at the beginning", []load.TCPTrial{minute(6000, 0), minute(5000, 0), minute(6000, 0)}, "sustained", 1},
		{"a little slower is still sustained", []load.TCPTrial{minute(6000, 0), minute(6000, 0), minute(5400, 0)}, "sustained", 0.9},
		{"slower than nine tenths", []load.TCPTrial{minute(6000, 0), minute(6000, 0), minute(5399, 0)}, "slowed", 5399.0 / 6000},
		{"one connection failed in the middle", []load.TCPTrial{minute(6000, 0), minute(6000, 1), minute(6000, 0)}, "failed", 1},
		{"nothing at the end, for want of ports", []load.TCPTrial{minute(6000, 0), minute(6000, 0), minute(0, 0)}, "slowed", 0},
		{"ended early", []load.TCPTrial{minute(6000, 0), minute(6000, 0)}, "incomplete", 1},
		{"ended at once", nil, "incomplete", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := SustainTrial{Intended: 3 * time.Minute, Periods: test.minutes}
			s.judge()
			if s.Verdict() != test.verdict || s.Ratio != test.ratio {
				t.Errorf("%s, ratio %v; want %s, %v", s.Verdict(), s.Ratio, test.verdict, test.ratio)
			}
		})
	}
}

// TestConnectionsAreOpenedAndClosedForAWhile runs clients through FULLNAT with one
// local address.
func TestConnectionsAreOpenedAndClosedForAWhile(t *testing.T) {
	r := measureShortly(t, Sustain, Options{
		Targets: []load.Target{{Method: load.FullNAT}}, Servers: 2, Locals: 1, Conns: 4, Warm: 50 * ms, Connections: ConnOptions{Duration: 600 * ms},
	})
	if len(r.Sustained) != 1 || len(r.Sustained[0].Periods) != 2 {
		t.Fatalf("%+v, want one run of two halves", r.Sustained)
	}
	if s := r.Sustained[0]; s.First == 0 || s.Last == 0 || s.Failed > 0 {
		t.Errorf("%+v", s)
	}
}

package bench

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/bench/load"
	"uvs/bench/report"
)

// inMemory is a measure without a lab whose targets forward all they are sent at once.
// fails says whether a target fails in a round; stop ends the run in one.
func inMemory(fails func(t load.Target, round int) error, stop func(t load.Target, round int)) Measure {
	return Measure{Name: "quick", ownLab: true, steps: func(*Options) []step {
		return []step{{name: "frames", run: func(_ context.Context, t *run) error {
			if err := fails(t.target, t.round); err != nil {
				return err
			}
			t.report.Trials = append(t.report.Trials, load.Trial{Measure: "quick", Target: t.target.String(), Load: load.Load{Size: 64, Flows: 1, Rate: 1000},
				Round: t.round, Window: time.Second, Intended: 1000, Sent: 1000, Received: 1000, Arrived: 1000, CPU: time.Millisecond})
			stop(t.target, t.round)
			return nil
		}}}
	}}
}

var errGone = errors.New("the forwarder has ended")

// measureInMemory runs four rounds of three targets with a limit that all keep.
func measureInMemory(t *testing.T, ctx context.Context, m Measure) *Report {
	t.Helper()
	p := Part{m, Options{Rounds: 4, Once: true, Limits: []report.Limit{{Name: "max_loss", Bound: 0.01}},
		Targets: []load.Target{{Method: load.Null}, {Method: load.DR}, {Method: load.NAT}}}}
	r := &Report{Run: report.Run{Schema: report.Schema, Kind: "full"}}
	f := &failures{report: r, setting: p.begin(r)}
	p.run(ctx, r, f)
	r.Finish(ctx.Err() != nil)
	r.summarize()
	return r
}

func verdicts(r *Report) map[string]string {
	all := map[string]string{}
	for i := range r.Limits {
		all[r.Limits[i].Target] = r.Limits[i].Verdict()
	}
	return all
}

func never(load.Target, int) error { return nil }
func goOn(load.Target, int)        {}

func TestARunGoesOnPastATargetThatFails(t *testing.T) {
	fails := func(target load.Target, round int) error {
		if target.Method == load.DR && round == 2 {
			return errGone
		}
		return nil
	}
	r := measureInMemory(t, t.Context(), inMemory(fails, goOn))
	if diff := cmp.Diff(map[string]int{"null": 4, "dr": 2, "nat": 4}, r.Parts[0].Completed); diff != "" {
		t.Errorf("whole rounds: %s", diff)
	}
	if diff := cmp.Diff(map[string]string{"dr": "incomplete", "nat": "pass"}, verdicts(r)); diff != "" {
		t.Errorf("limits: %s", diff)
	}
	said := "quick, dr, round 3: the forwarder has ended"
	var text, page, file bytes.Buffer
	if err := errors.Join(r.Print(&text), r.HTML(&page), r.Write(&file)); err != nil {
		t.Fatal(err)
	}
	for name, where := range map[string]string{"text": text.String(), "page": page.String(), "JSON": file.String()} {
		if !strings.Contains(where, said) || !strings.Contains(where, "partial") {
			t.Errorf("%s does not say that the report is partial, and why", name)
		}
		if name != "JSON" && !strings.Contains(where, "incomplete") {
			t.Errorf("%s does not say that a limit is incomplete", name)
		}
	}
}

func TestNoLimitPassesWhoseTargetLacksRounds(t *testing.T) {
	tests := []struct {
		name  string
		fails func(load.Target, int) error
		stop  func(cancel func()) func(load.Target, int)
		want  map[string]string
	}{
		{"all rounds are there", never, nil, map[string]string{"dr": "pass", "nat": "pass"}},
		{"interrupted in the last round, when one target has not been measured", never,
			func(cancel func()) func(load.Target, int) {
				return func(target load.Target, round int) {
					if round == 3 && target.Method == load.DR {
						cancel()
					}
				}
			}, map[string]string{"dr": "incomplete", "nat": "incomplete"}},
		{"interrupted before anything was measured", func(load.Target, int) error { return context.Canceled },
			func(cancel func()) func(load.Target, int) { cancel(); return goOn }, map[string]string{"nothing": "incomplete"}},
		{"a target that fails at once", func(target load.Target, _ int) error {
			if target.Method == load.NAT {
				return errGone
			}
			return nil
		}, nil, map[string]string{"dr": "pass", "nat": "incomplete"}},
		{"all targets fail", func(load.Target, int) error { return errGone }, nil,
			map[string]string{"null": "incomplete", "dr": "incomplete", "nat": "incomplete"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop := goOn
			if test.stop != nil {
				stop = test.stop(cancel)
			}
			r := measureInMemory(t, ctx, inMemory(test.fails, stop))
			if diff := cmp.Diff(test.want, verdicts(r)); diff != "" {
				t.Error(diff)
			}
			if (len(r.Failed()) > 0) != (r.Partial != "") {
				t.Errorf("partial %q, %d limits not kept", r.Partial, len(r.Failed()))
			}
		})
	}
}

func TestReportsOfOlderVersionsAreCompleteUnlessPartial(t *testing.T) {
	for partial, want := range map[string]string{"": "pass", "interrupted": "incomplete"} {
		r := madeUp(1, 1, 0.02, 8)
		r.Parts[0].Limits, r.Partial = []report.Limit{{Name: "max_ratio_to_null", Bound: 5}}, partial
		r.summarize()
		if got := r.Limits[0].Verdict(); got != want {
			t.Errorf("partial %q: %s, want %s", partial, got, want)
		}
	}
}

func TestWhatForwardsWronglyIsInvalidInWhateverMeasure(t *testing.T) {
	wrong := []string{"frame arrived twice"}
	tests := map[string]func(*Report){
		"gate":       func(r *Report) { r.Gates = []load.Trial{{Target: "nat", Faults: wrong}} },
		"quick":      func(r *Report) { r.Trials[1].Faults = wrong },
		"multiplied": func(r *Report) { r.Trials[1].Received = r.Trials[1].Sent + 1 },
		"tcp":        func(r *Report) { r.TCP = []load.TCPTrial{{Target: "nat", Kind: load.Connect, Window: 1e9, Wrong: 1}} },
		"fairness":   func(r *Report) { r.Sharing = []FairnessTrial{{Target: "nat", Connections: 100, Lost: 18}} },
		"disrupt":    func(r *Report) { r.Disruptions = []DisruptTrial{{Target: "nat", Faults: wrong}} },
		"open": func(r *Report) {
			r.Openings = []OpenTrial{{Trial: load.Trial{Target: "nat", Window: 1e9, Faults: wrong}}}
		},
		"hold":     func(r *Report) { r.Holdings = []HoldTrial{{Target: "nat", Faults: wrong}} },
		"recovery": func(r *Report) { r.Recoveries = []RecoveryTrial{{Target: "nat", Faults: wrong}} },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			r := madeUp(1, 0.5, 0.01, 8) // twice as fast as the baseline
			r.Parts[0].Limits = []report.Limit{{Name: "max_ratio_to_null", Bound: 5}}
			change(r)
			r.summarize()
			if diff := cmp.Diff([]string{"nat"}, r.Invalid()); diff != "" {
				t.Error(diff)
			}
			if v := verdictOf(r); v != report.Invalid {
				t.Errorf("beside the baseline it is %s", v)
			}
			if len(r.Failed()) != 1 || r.Failed()[0].Verdict() != "FAIL" {
				t.Errorf("it keeps a limit: %+v", r.Limits)
			}
		})
	}
}

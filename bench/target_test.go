package bench

import (
	"net/netip"
	"strings"
	"testing"

	"uvs/bench/load"
	"uvs/bench/report"

	"github.com/google/go-cmp/cmp"
)

func TestMatrixMakesEachTargetOnce(t *testing.T) {
	tests := []struct {
		name string
		m    Matrix
		want string
	}{
		{"what is usual has a short name", Matrix{Mode: []load.Method{load.Null, load.NAT}}, "null nat"},
		{"the null forwarder comes for each port, schedulers and workers only for directors",
			Matrix{Mode: []load.Method{load.Null, load.NAT}, IO: []string{"ring", "socket"}, Scheduler: []string{"rr", "wlc"}, Workers: []int{1, 2}},
			"null null/socket nat nat/w2 nat/wlc nat/wlc/w2 nat/socket nat/socket/w2 nat/socket/wlc nat/socket/wlc/w2"},
		{"a socket has no profile", Matrix{Mode: []load.Method{load.DR}, IO: []string{"ring", "socket"}, Profile: []string{"latency", "throughput"}},
			"dr dr/throughput dr/socket"},
		{"the kernel has neither, but offloads", Matrix{Mode: []load.Method{load.Route}, IO: []string{"ring", "socket"}, Offloads: []string{"on", "off"}},
			"route route/plain"},
		{"with a state and without, only directors", Matrix{Mode: []load.Method{load.Null, load.NAT}, State: []string{"kept", "none"}}, "null nat nat/stateless"},
		{"another binary stands beside ours, not beside the kernel", Matrix{Mode: []load.Method{load.Route, load.NAT}, Against: "./old"}, "route nat nat/other"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			targets, err := test.m.Targets()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, x := range targets {
				names = append(names, x.String())
			}
			if diff := cmp.Diff(strings.Fields(test.want), names); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMatrixRefusesWhatIsNotThere(t *testing.T) {
	for _, m := range []Matrix{
		{Mode: []load.Method{"dsr"}}, {Mode: []load.Method{load.NAT}, IO: []string{"xdp"}}, {Mode: []load.Method{load.NAT}, Offloads: []string{"maybe"}},
		{Mode: []load.Method{load.NAT}, Workers: []int{0}}, {Mode: []load.Method{load.NAT}, Profile: []string{"fast"}},
	} {
		if _, err := m.Targets(); err == nil {
			t.Errorf("%+v is taken", m)
		}
	}
}

func TestKernelIPVSIsToldWhatAnAdministratorWouldType(t *testing.T) {
	got := ipvsCommands(lane{number: 3, servers: 2}, netip.MustParseAddrPort("198.18.3.1:4001"), load.KernelTunnel)
	want := []string{
		"-A -u 198.18.3.1:4001 -s rr",
		"-a -u 198.18.3.1:4001 -r 198.19.3.100:4001 -i",
		"-a -u 198.18.3.1:4001 -r 198.19.3.101:4001 -i",
		"-A -t 198.18.3.1:4001 -s rr",
		"-a -t 198.18.3.1:4001 -r 198.19.3.100:4001 -i",
		"-a -t 198.18.3.1:4001 -r 198.19.3.101:4001 -i",
	}
	var lines []string
	for _, words := range got {
		lines = append(lines, strings.Join(words, " "))
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestTwinIsTheNullForwarderOrADirector(t *testing.T) {
	for _, test := range []struct {
		targets []load.Target
		want    string
	}{
		{[]load.Target{{Method: load.NAT}, {Method: load.Null, Program: "x"}, {Method: load.Null, IO: "socket"}}, "null/socket/again"},
		{[]load.Target{{Method: load.Route}, {Method: load.NAT}}, "nat/again"},
		{[]load.Target{{Method: load.Route}, {Method: load.HAProxy}}, "route/again"},
	} {
		if got := twin(test.targets).String(); got != test.want {
			t.Errorf("%v: %s, want %s", test.targets, got, test.want)
		}
	}
}

func TestLimitsAreJudgedByTheMedianAndSayWhenTheyAreUnsure(t *testing.T) {
	tests := []struct {
		name   string
		times  float64
		limit  report.Limit
		target string
		want   string
	}{
		{"far below a maximum", 1.05, report.Limit{Name: "max_ratio_to_null", Bound: 1.5}, "nat", "pass"},
		{"far above it", 1.9, report.Limit{Name: "max_ratio_to_null", Bound: 1.5}, "nat", "FAIL"},
		{"on both sides of it", 1.5, report.Limit{Name: "max_cpu_ns", Bound: 1200 * 1.15}, "nat", "?"},
		{"nothing of the kind was measured", 1, report.Limit{Name: "min_pps", Bound: 1}, "nat", "pass"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := madeUp(1, test.times, 0.02, 8)
			r.Parts[0].Limits = []report.Limit{test.limit}
			r.summarize()
			if len(r.Limits) != 1 || r.Limits[0].Target != test.target || !strings.Contains(r.Limits[0].Verdict(), test.want) {
				t.Errorf("%+v, want %s", r.Limits, test.want)
			}
		})
	}
	r := madeUp(1, 1, 0.02, 8)
	r.Gates = []load.Trial{{Target: "nat", Faults: []string{"wrong"}}}
	r.Parts[0].Limits = []report.Limit{{Name: "max_ratio_to_null", Bound: 5}}
	r.summarize()
	if len(r.Failed()) != 1 || verdictOf(r) != report.Invalid {
		t.Errorf("a target that forwards wrongly passes: %+v", r.Limits)
	}
	if err := CheckLimit("tcp", "max_ratio_to_null"); err == nil || !strings.Contains(err.Error(), "max_failed") {
		t.Errorf("%v, want the names that tcp knows", err)
	}
}

package bench

import (
	"net/netip"
	"testing"

	"uvs/bench/load"

	"github.com/google/go-cmp/cmp"
)

func TestLossesAreTheCountersOfLostFramesThatGrew(t *testing.T) {
	before := map[string]uint64{"port-ring-drops": 5, "forward": 10, "drop-send": 1, "port-received": 3}
	after := map[string]uint64{"port-ring-drops": 9, "forward": 90, "drop-send": 1, "port-received": 80, "drop-no-server": 2}
	want := map[string]uint64{"port-ring-drops": 4, "drop-no-server": 2}
	if diff := cmp.Diff(want, losses(before, after)); diff != "" {
		t.Error(diff)
	}
	if got := formatCounters(want); got != "drop-no-server 2, port-ring-drops 4" {
		t.Error(got)
	}
}

func TestServersHaveAddressesHoweverMany(t *testing.T) {
	for _, servers := range []int{1, MaxServers, MaxServers + 1, MaxFarServers} {
		l := lane{number: 3, servers: servers}
		seen := map[netip.Addr]bool{l.middleInside(): true, l.vip(): true}
		for _, a := range l.middleSide("in").Addresses {
			seen[a.Prefix.Addr()] = true
		}
		for i := range localAddresses {
			seen[l.local(i)] = true
		}
		for i := range servers {
			a := l.server(i)
			if seen[a] {
				t.Fatalf("%d servers: %v twice", servers, a)
			}
			if seen[a] = true; l.wide() && !l.farServers().Contains(a) {
				t.Fatalf("%d servers: %v is not in %v", servers, a, l.farServers())
			}
		}
	}
}

// TestNewConnectionsAreOpenedAndHeld opens and holds some connections with more
// servers than one network has.
func TestNewConnectionsAreOpenedAndHeld(t *testing.T) {
	o := Options{
		Targets: []load.Target{{Method: load.NAT, Scheduler: "wlc"}}, Servers: 200, Window: 100 * ms, Warm: 20 * ms, Once: true,
		Connections: ConnOptions{First: []string{"udp", "syn"}, Live: 500, Rate: 20_000, Fill: 20_000, Hold: []int{1000, 3000}},
	}
	r := measureShortly(t, Open, o)
	if len(r.OpeningRows) != 2 {
		t.Fatalf("%d rows, want one for each kind", len(r.OpeningRows))
	}
	for i, row := range r.OpeningRows {
		if row.Verdict() != "valid" || r.Openings[i].Received == 0 || row.Live < 400 || row.After == 0 {
			t.Errorf("%s: %+v", row.Kind, row)
		}
	}
	r = measureShortly(t, Hold, o)
	if len(r.Holdings) != 2 {
		t.Fatalf("%d numbers held, want 2", len(r.Holdings))
	}
	for i, h := range r.Holdings {
		if h.Verdict() == "INVALID" || h.Held != uint64(o.Connections.Hold[i]) || h.Answered == 0 {
			t.Errorf("%+v", h)
		}
	}
}

package lab_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
	"uvs/sched/sim"
)

// TestLiveTrafficIsReplayed records requests to the tutorial's service, and replays them
// as they were and with all weight on one server.
func TestLiveTrafficIsReplayed(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	file := filepath.Join(t.TempDir(), "requests.jsonl")
	recording := l.Command("director", "uvs", "sched", "record", "--hash-addresses", "--for", "3s", file)
	said := &output{}
	recording.Stderr = said
	if err := recording.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- recording.Wait() }()
	for busy := true; busy; {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			busy = false
		default:
			if _, failed := attempts(l, 1, patience); failed > 0 {
				t.Error("a request failed")
			}
		}
	}
	replay := func(words ...string) (c sim.Comparison) {
		out := labtest.Exec(t, l, "director", append([]string{"uvs", "sched", "replay", "--json", file}, words...)...)
		if err := json.Unmarshal([]byte(out), &c); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return c
	}
	was := replay()
	servers := was.Recorded.Servers
	if len(servers) != 2 || was.Recorded.Connections < 2 || was.Clients != 1 || was.Lost != 0 {
		t.Fatalf("%+v %+v", was, servers)
	}
	if d := servers[0].Picks - servers[1].Picks; d < -1 || d > 1 {
		t.Errorf("rr: %+v", servers)
	}
	one := replay("-w", servers[0].Addr+"=1,"+servers[1].Addr+"=0")
	if one.Moved != servers[1].Picks || one.Replayed.Servers[0].Picks != was.Recorded.Connections {
		t.Errorf("all weight on one: %d moved, %+v", one.Moved, one.Replayed.Servers)
	}
	if out := labtest.Exec(t, l, "director", "uvs", "sched", "replay", file, "-s", "wlc"); !strings.Contains(out, "moved: ") {
		t.Error(out)
	}
	if _, err := l.Exec("director", "uvs", "sched", "record", file); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Error(err)
	}
}

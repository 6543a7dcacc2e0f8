package doctor_test

import (
	"encoding/json"
	"time"

	"uvs/lab"
)

// forget has those who ask for the virtual address ask again: answers of the time of a fault
// would be good for some minutes.
func (b *bench) forget() {
	b.Helper()
	for _, n := range b.l.Topology.Nodes {
		if n.Role != lab.Client && n.Role != lab.Router {
			continue
		}
		if _, err := b.l.Exec(n.Name, "ip", "neigh", "flush", "all"); err != nil {
			b.Error(err)
		}
	}
}

// checks runs the lab's checks, and expects an exit status.
func (b *bench) checks(within time.Duration, status int) (r struct {
	OK     bool
	Failed int
	Checks []struct {
		Name, Seen, Expected string
		OK                   bool
	}
}) {
	b.Helper()
	out, got := b.uvs("lab", "check", b.l.Name, "--json", "--within", within.String())
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	if got != status || r.OK != (status == 0) {
		b.Errorf("lab check: exit status %d, %d expected: %s", got, status, out)
	}
	return r
}

// unseen are the faults that change nothing for a client, and why no check fails.
var unseen = map[string]string{
	"self-client":     "only the program on the director that asks its own service waits",
	"conntrack":       "the rule is in a chain that never sees what the director forwards",
	"synproxy":        "the rule is in a chain that never sees what the director forwards",
	"firewall-unseen": "the rule is in a chain that never sees what the director forwards",
}

// seenByChecks expects a check to fail, unless the fault changes nothing that a lab promises.
func (b *bench) seenByChecks(name string) {
	b.Helper()
	if name == "two-directors" {
		return // it depends on which of them is first
	}
	if unseen[name] != "" {
		b.checks(30*time.Second, 0)
		return
	}
	b.checks(time.Second, 1)
}

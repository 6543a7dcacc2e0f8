package lab_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"uvs/internal/nstest"
	"uvs/lab"
	"uvs/lab/labtest"
)

var everyPair = flag.Bool("ha", false, "drill every topology with two directors in full, and let nothing be silent for more than a second")

func needKeepalived(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("keepalived"); err != nil {
		labtest.Skip(t, "needs keepalived")
	}
}

// Two directors take each other's place, whatever happens to one of them: no connection
// breaks, and the download comes whole.
func TestTwoDirectorsTakeEachOthersPlace(t *testing.T) {
	needKeepalived(t)
	names, o := []string{"ha", "ha-fullnat6"}, lab.DrillOptions{Conns: 50, Bytes: 20 << 20, Silence: patience}
	if *everyPair {
		names, o = lab.PairNames(), lab.DrillOptions{}
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			err := drill(t, name, o)
			for range 2 { // a machine that stands still is silent too
				if errors.Is(err, lab.ErrSilent) {
					err = drill(t, name, o)
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func drill(t *testing.T, topology string, o lab.DrillOptions) error {
	t.Helper()
	l := labtest.Start(t, labtest.Build(t, topology, lab.Options{}))
	defer l.Close()
	var out strings.Builder
	err := lab.Drill(l, &out, o)
	t.Logf("%v\n%s", err, out.String())
	return err
}

// awaitVIP returns the director that answers for the virtual address.
func awaitVIP(t *testing.T, l *lab.Lab, nodes ...string) (active string) {
	t.Helper()
	nstest.Eventually(t, fmt.Sprint("one of ", nodes, " answers for the address"), func() bool {
		for _, active = range nodes {
			if out, err := l.Exec(active, "uvs", "vip"); err == nil && strings.Contains(out, "yes      yes") {
				return true
			}
		}
		return false
	})
	return active
}

// awaitKnown returns when a director knows so many connections.
func awaitKnown(t *testing.T, l *lab.Lab, node string, n int) {
	t.Helper()
	nstest.Eventually(t, fmt.Sprintf("%s knows %d connections", node, n), func() bool { return known(t, l, node) >= n })
}

// If both directors have the address, clients are served by either, and connections break
// neither then nor when it is over: each director knows those of the other.
func TestTwoActiveDirectorsBreakNoConnection(t *testing.T) {
	needKeepalived(t)
	l := labtest.Start(t, labtest.Build(t, "ha-dr", lab.Options{}))
	labtest.NeedIP(t)
	active := awaitVIP(t, l, "director", "standby")
	passive := map[string]string{"director": "standby", "standby": "director"}[active]
	var sessions []*session
	for range 10 {
		s := openSession(t, l)
		for range 4 { // the third packet has a connection synchronized
			_, _ = s.ask(patience)
		}
		sessions = append(sessions, s)
	}
	awaitKnown(t, l, passive, len(sessions))
	asks := func(when string) {
		t.Helper()
		for i, s := range sessions {
			if server, err := s.ask(patience); err != nil || server != s.server {
				t.Errorf("%s: connection %d, which had %s: %q, %v", when, i, s.server, server, err)
			}
		}
	}
	vip := l.Topology.VIP.String() + "/32"
	labtest.Exec(t, l, passive, "ip", "addr", "add", vip, "dev", "eth0")
	awaitVIP(t, l, passive)
	asks("both have the address")
	if ok, failed := attempts(l, 20, patience); failed != 0 {
		t.Errorf("both have the address: answers %v, %d failed", ok, failed)
	}
	asks("both have had it for a while")
	labtest.Exec(t, l, passive, "ip", "addr", "del", vip, "dev", "eth0")
	asks("one has it again")
}

// The configuration of keepalived in the documentation works as it stands, but for addresses.
func TestTheDocumentedKeepalivedWorks(t *testing.T) {
	needKeepalived(t)
	if os.Geteuid() != 0 {
		t.Skip("keepalived runs scripts as root only")
	}
	sample, err := os.ReadFile("../docs/ha/keepalived.conf")
	if err != nil {
		t.Fatal(err)
	}
	topology := labtest.Build(t, "ha", lab.Options{})
	for _, name := range []string{"director", "standby"} {
		n := topology.Node(name)
		n.Files[0].Text = strings.NewReplacer("/usr/local/bin/uvs", "/run/uvs/bin/uvs",
			"10.0.0.100", topology.VIP.String(), "10.1.0.1/", "192.168.166.130/",
			"10.1.0.11", "192.168.166.129", "10.1.0.12", "192.168.166.131").Replace(string(sample))
		if name == "standby" {
			n.Files[0].Text = strings.Replace(n.Files[0].Text, "priority 150", "priority 100", 1)
		}
		n.Services = append(n.Services[:1:1], n.Services[2:]...) // its own script is in place of the file
	}
	l := labtest.Start(t, topology)
	active := awaitVIP(t, l, "director", "standby")
	if ok, failed := attempts(l, 4, patience); len(ok) != 2 || failed != 0 {
		t.Errorf("%s is active: answers %v, %d failed", active, ok, failed)
	}
	passive := map[string]string{"director": "standby", "standby": "director"}[active]
	if err := l.Fail(active); err != nil {
		t.Fatal(err)
	}
	awaitVIP(t, l, passive)
	if ok, failed := attempts(l, 4, patience); len(ok) != 2 || failed != 0 {
		t.Errorf("%s has taken over: answers %v, %d failed", passive, ok, failed)
	}
	if err := l.Return(active); err != nil {
		t.Fatal(err)
	}
	if passive == "standby" { // which has no keeper
		if err := l.Crash(passive, "director"); err != nil {
			t.Fatal(err)
		}
		awaitVIP(t, l, active)
	}
}

package lab_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"uvs/forwarder/config"
	"uvs/lab"
	"uvs/lab/labtest"
)

// The tests of this file break real servers in the ways that a client of the director
// sees and a check of the server's own address does not.

// checkFault is a way to break rs1, and what a check then says about it.
type checkFault struct {
	name     string
	topology string
	break1   func(t *testing.T, l *lab.Lab)
	says     string
	own      bool // the server answers on its own address
}

// closeTunnel ends the process that opens tunnelled packets in a node.
const closeTunnel = `me=$(readlink /proc/self/ns/net)
for p in /proc/[0-9]*; do
	[ "$(readlink $p/ns/net)" = "$me" ] && tr '\0' ' ' <$p/cmdline | grep -q 'uvs [d]ecap' && kill ${p#/proc/}
done; true`

func loseVIP(t *testing.T, l *lab.Lab) {
	t.Helper()
	sh(t, l, "rs1", "ip addr del "+l.Topology.VIP.String()+" dev lo")
}

func closesTunnel(t *testing.T, l *lab.Lab) { t.Helper(); sh(t, l, "rs1", closeTunnel) }

func wrongGateway(t *testing.T, l *lab.Lab) {
	t.Helper()
	sh(t, l, "rs1", "ip route replace default via "+l.Topology.RealServers()[1].Address().String())
}

func dies(t *testing.T, l *lab.Lab) {
	t.Helper()
	if err := l.Kill("rs1"); err != nil {
		t.Fatal(err)
	}
}

var checkFaults = []checkFault{
	{"the VIP is not on lo", "dr", loseVIP, "server answers on its own address, not on the VIP", true},
	{"the VIP is not on lo", "dr6", loseVIP, "server answers on its own address, not on the VIP", true},
	{"the tunnel is closed", "tun", closesTunnel, "server answers on its own address, not on the VIP", true},
	{"the tunnel is closed", "tun6", closesTunnel, "server answers on its own address, not on the VIP", true},
	{"the director is not its gateway", "nat", wrongGateway, "its answers do not pass the director", true},
	{"the director is not its gateway", "nat6", wrongGateway, "its answers do not pass the director", true},
	{"nothing listens", "fullnat", dies, "server answers neither on its own address nor on the VIP (refused)", false},
	{"nothing listens", "fullnat6", dies, "server answers neither on its own address nor on the VIP (refused)", false},
	{"nothing listens", "nat", dies, "server answers neither on its own address nor on the VIP (refused)", false},
}

// A check finds each server up, then the broken one down, and the director carries it as
// nobody's: there is no connection in the listing, and nothing is counted.
func TestACheckSeesWhatClientsSee(t *testing.T) {
	for _, f := range checkFaults {
		for _, elsewhere := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%s/VIP elsewhere %t", f.topology, f.name, elsewhere), func(t *testing.T) {
				t.Parallel()
				l := labtest.Start(t, labtest.Build(t, f.topology, lab.Options{VIPElsewhere: elsewhere}))
				labtest.NeedIP(t)
				for _, s := range checkNow(t, l) {
					if !s.VIP.OK || !s.Own.OK || s.AnswersARP {
						t.Errorf("%s: %s, %+v, %+v", s.Server, s.Result, s.VIP, s.Own)
					}
				}
				f.break1(t, l)
				states := checkNow(t, l)
				if s := states[0]; s.VIP.OK || s.Own.OK != f.own || !strings.Contains(s.Result, f.says) {
					t.Errorf("of the broken server a check says %q, want %q: %+v, %+v", s.Result, f.says, s.VIP, s.Own)
				}
				if s := states[1]; !s.VIP.OK {
					t.Errorf("of the other server: %s", s.Result)
				}
				leavesNothing(t, l)
			})
		}
	}
}

// checkNow asks all servers for a page once.
func checkNow(t *testing.T, l *lab.Lab) []config.CheckState {
	t.Helper()
	out, err := l.Exec("director", "uvs", "check", "-t", vip(l, 80), "--http", "/", "--timeout", "500ms", "--json")
	return checkStates(t, out, err)
}

// checkStates reads what `uvs check --json` printed. That one found a server down is
// no error here.
func checkStates(t *testing.T, out string, err error) (states []config.CheckState) {
	t.Helper()
	if end := strings.LastIndex(out, "]"); end >= 0 {
		out = out[:end+1]
	}
	if parseErr := json.Unmarshal([]byte(out), &states); parseErr != nil || len(states) == 0 {
		t.Fatalf("no states: %v, %v: %s", parseErr, err, out)
	}
	return states
}

// leavesNothing expects no connection in listings, and nothing counted.
func leavesNothing(t *testing.T, l *lab.Lab) {
	t.Helper()
	if out := labtest.Exec(t, l, "director", "ipvsadm", "-Lcn"); strings.Contains(out, "TCP") {
		t.Errorf("a probe is listed:\n%s", out)
	}
	out := labtest.Exec(t, l, "director", "ipvsadm", "-Ln", "--stats", "--exact")
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) > 5 && words[0] == "->" && words[1] != "RemoteAddress:Port" &&
			strings.Join(words[2:], "") != strings.Repeat("0", len(words)-2) {
			t.Errorf("a probe is counted:\n%s", out)
			break
		}
	}
}

func TestACheckSeesAServerThatAnswersARP(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	sh(t, l, "rs1", "for i in all lo eth0; do echo 0 >/proc/sys/net/ipv4/conf/$i/arp_ignore; done")
	var states []config.CheckState
	awaits(t, "an answer by ARP", func() bool {
		states = checkNow(t, l)
		return states[0].AnswersARP
	})
	if s := states[0]; !s.VIP.OK || !strings.Contains(s.Result, "answers ARP for it") {
		t.Errorf("the check says %q", s.Result)
	}
	if states[1].AnswersARP {
		t.Error("the other server is said to answer, too")
	}
}

// awaits waits until a condition holds.
func awaits(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// A strict reverse path filter makes the host refuse answers from a virtual address whose
// network is on another interface.
func TestACheckPassesTheReversePathFilter(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	sh(t, l, "director", "for i in all eth0; do echo 1 >/proc/sys/net/ipv4/conf/$i/rp_filter; done")
	for _, s := range checkNow(t, l) {
		if !s.VIP.OK {
			t.Errorf("%s: %s", s.Server, s.Result)
		}
	}
}

// A repeated check finds a server down and up again, says since when, and ends when it is
// deleted.
func TestARepeatedCheck(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	labtest.NeedIP(t)
	rs1 := netip.AddrPortFrom(l.Topology.RealServers()[0].Address(), 80)
	addCheck(t, l, "--http", "/", "--interval", "200ms", "--timeout", "200ms", "--rise", "2", "--fall", "2")
	awaitState(t, l, rs1, "up", false)
	loseVIP(t, l)
	awaitState(t, l, rs1, "down", false)
	sh(t, l, "rs1", "ip addr add "+l.Topology.VIP.String()+"/32 dev lo")
	awaitState(t, l, rs1, "up", false)
	labtest.Exec(t, l, "director", "uvs", "check", "delete", "-t", vip(l, 80))
	if out := labtest.Exec(t, l, "director", "uvs", "check", "list", "--json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("after the deletion: %s", out)
	}
}

func addCheck(t *testing.T, l *lab.Lab, words ...string) {
	t.Helper()
	labtest.Exec(t, l, "director", append([]string{"uvs", "check", "add", "-t", vip(l, 80)}, words...)...)
}

// awaitState waits until the checks find a server in a state, and held or not.
func awaitState(t *testing.T, l *lab.Lab, server netip.AddrPort, state string, held bool) {
	t.Helper()
	awaits(t, fmt.Sprintf("%s %s, held %t", server, state, held), func() bool {
		s := checkOf(t, l, server)
		return s.State == state && s.Held == held
	})
}

// checkOf returns what the checks have found about a server.
func checkOf(t *testing.T, l *lab.Lab, server netip.AddrPort) config.CheckState {
	t.Helper()
	out, err := l.Exec("director", "uvs", "check", "list", "--json")
	for _, s := range checkStates(t, out, err) {
		if s.Server == server {
			return s
		}
	}
	t.Fatalf("nothing about %s in %s", server, out)
	return config.CheckState{}
}

// A server that is down is held beside its weight, which stays whose it is; the hold ends
// when it answers again.
func TestAHoldKeepsTheWeight(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	labtest.NeedIP(t)
	rs1 := netip.AddrPortFrom(l.Topology.RealServers()[0].Address(), 80)
	addCheck(t, l, "--http", "/", "--act", "hold", "--interval", "200ms", "--timeout", "200ms", "--rise", "2", "--fall", "2")
	awaitState(t, l, rs1, "up", false)
	loseVIP(t, l)
	awaitState(t, l, rs1, "down", true)
	for range 4 {
		if page, err := l.Get("client", url(l, "/")); err != nil || strings.TrimSpace(page) != "Web2" {
			t.Errorf("while rs1 is held the client got %q, %v", page, err)
		}
	}
	for _, weight := range []string{"7", "3"} {
		labtest.Exec(t, l, "director", "ipvsadm", "-e", "-t", vip(l, 80), "-r", rs1.String(), "-g", "-w", weight)
		if out := labtest.Exec(t, l, "director", "ipvsadm", "-Sn"); !strings.Contains(out, rs1.String()+" -g -w "+weight) {
			t.Errorf("the weight is not the one that was set:\n%s", out)
		}
		if s := checkOf(t, l, rs1); !s.Held || fmt.Sprint(s.Weight) != weight {
			t.Errorf("after an edit: held %t, weight %d", s.Held, s.Weight)
		}
		if page, err := l.Get("client", url(l, "/")); err != nil || strings.TrimSpace(page) != "Web2" {
			t.Errorf("after an edit the client got %q, %v", page, err)
		}
	}
	sh(t, l, "rs1", "ip addr add "+l.Topology.VIP.String()+"/32 dev lo")
	awaitState(t, l, rs1, "up", false)
	turnsUp(t, l, "Web1")
}

// turnsUp waits until the client is served by a server.
func turnsUp(t *testing.T, l *lab.Lab, server string) {
	t.Helper()
	awaits(t, "a page of "+server, func() bool {
		page, err := l.Get("client", url(l, "/"))
		return err == nil && strings.TrimSpace(page) == server
	})
}

// No more servers are held than the share allows, the others are named; without the check
// none is.
func TestNoMoreServersAreHeldThanMayBe(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{RealServers: 4}))
	addCheck(t, l, "--tcp", "--act", "hold", "--at-most", "50%", "--interval", "200ms", "--timeout", "200ms", "--fall", "2")
	servers := l.Topology.RealServers()
	for _, s := range servers {
		awaitState(t, l, netip.AddrPortFrom(s.Address(), 80), "up", false)
	}
	for _, s := range servers {
		if err := l.Kill(s.Name); err != nil {
			t.Fatal(err)
		}
	}
	awaits(t, "two that are held and two that are not", func() bool {
		held, limited := 0, 0
		out, err := l.Exec("director", "uvs", "check", "list", "--json")
		for _, s := range checkStates(t, out, err) {
			if s.Held {
				held++
			}
			if s.Limited {
				limited++
			}
			if held > 2 {
				t.Fatalf("%d of 4 servers are held", held)
			}
		}
		return held == 2 && limited == 2
	})
	labtest.Exec(t, l, "director", "uvs", "check", "delete", "-t", vip(l, 80))
	if out := labtest.Exec(t, l, "director", "uvs", "check", "add", "-t", vip(l, 80), "--interval", "1h"); out != "" {
		t.Errorf("check add printed %s", out)
	}
	for _, s := range servers {
		if s := checkOf(t, l, netip.AddrPortFrom(s.Address(), 80)); s.Held {
			t.Errorf("%s is held by no check", s.Server)
		}
	}
}

// The next director has the checks, and holds what was held before it has asked anybody.
func TestChecksAndHoldsOutliveTheDirector(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	labtest.NeedIP(t)
	rs1 := netip.AddrPortFrom(l.Topology.RealServers()[0].Address(), 80)
	addCheck(t, l, "--http", "/", "--act", "hold", "--interval", "300ms", "--timeout", "300ms", "--fall", "2")
	loseVIP(t, l)
	awaitState(t, l, rs1, "down", true)
	if err := l.Kill("director"); err != nil {
		t.Fatal(err)
	}
	if err := l.StartServices("director"); err != nil {
		t.Fatal(err)
	}
	awaits(t, "the next director", func() bool {
		page, err := l.Get("client", url(l, "/"))
		if err == nil && strings.TrimSpace(page) != "Web2" {
			t.Errorf("the first page after the restart is %q", page)
		}
		return err == nil
	})
	for range 4 {
		if page, err := l.Get("client", url(l, "/")); err != nil || strings.TrimSpace(page) != "Web2" {
			t.Errorf("after the restart the client got %q, %v", page, err)
		}
	}
	awaitState(t, l, rs1, "down", true)
	sh(t, l, "rs1", "ip addr add "+l.Topology.VIP.String()+"/32 dev lo")
	awaitState(t, l, rs1, "up", false)
}

// Datagrams are asked for by every method; a server where nobody listens says so by ICMP,
// as far as that comes back.
func TestChecksByUDP(t *testing.T) {
	for _, topology := range []string{"nat", "dr", "tun", "fullnat", "nat6", "dr6"} {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			l := labtest.Start(t, labtest.Build(t, topology, lab.Options{}))
			addUDP(t, l)
			ask := func() []config.CheckState {
				out, err := l.Exec("director", "uvs", "check", "-u", vip(l, 7), "--timeout", "500ms", "--json")
				return checkStates(t, out, err)
			}
			for _, s := range ask() {
				if !s.VIP.OK || !s.Own.OK {
					t.Errorf("%s: %s", s.Server, s.Result)
				}
			}
			dies(t, l)
			if s := ask()[0]; s.VIP.OK || s.Own.Answer != "refused" {
				t.Errorf("of a dead server: %s", s.Result)
			}
		})
	}
}

// Servers on the director itself are asked, too.
func TestAServerOnTheDirectorIsChecked(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprintf("VIP elsewhere %t", elsewhere), func(t *testing.T) {
			t.Parallel()
			l := startLocal(t, "nat", lab.Options{VIPElsewhere: elsewhere})
			for _, method := range []string{"-m", "--fullnat"} {
				l.serve(t, "-t", 80, at(l.own, 8080), method)
				if s := checkNow(t, l.Lab)[0]; !s.VIP.OK || !s.Own.OK {
					t.Errorf("%s: %s", method, s.Result)
				}
			}
		})
	}
}

package forwarder

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/plan"
)

// roleBed is a testbed with a guard whose host has the addresses of a set.
type roleBed struct {
	*testbed
	guard *recorder
	host  map[string]bool
	log   *bytes.Buffer
}

// newRoleBed returns a director with --vip-role.
func newRoleBed(t *testing.T, role config.VIPRole, commands string) *roleBed {
	t.Helper()
	r := &roleBed{guard: &recorder{}, host: map[string]bool{}, log: &bytes.Buffer{}}
	r.testbed = newTestbedWith(t, "", Config{MaxConns: 1 << 10, VIPRole: role,
		Log: slog.New(slog.NewTextHandler(r.log, nil))})
	r.fw.conf.Guard = r.guard
	r.net.local = func(a netip.Addr) bool { return r.host[a.String()] }
	r.apply(commands)
	return r
}

// set gives the host an address or takes it away.
func (r *roleBed) set(addr string, has bool) {
	r.t.Helper()
	r.host[addr] = has
	mustDo(r.t, r.fw.RebuildPlan())
	checkSame(r.t, r.testbed)
}

// checkSame compares the plan that followed changes with a new one.
func checkSame(t testing.TB, b *testbed) {
	t.Helper()
	if diff := cmp.Diff(b.fw.newPlan().Contents(), b.fw.applied.Contents(), cmp.Comparer(sameAddr), cmp.Comparer(samePrefix)); diff != "" {
		t.Errorf("the plan (-anew +followed)\n%s", diff)
	}
}

func samePrefix(a, b netip.Prefix) bool { return a == b }

// expectAnswers compares the addresses that the director answers for.
func (r *roleBed) expectAnswers(because string, want ...string) {
	r.t.Helper()
	var got []string
	for _, a := range r.net.owned {
		got = append(got, a.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("%s: it answers for (-want +got)\n%s", because, diff)
	}
}

// events returns the roles that were logged since the last call.
func (r *roleBed) events() (all []string) {
	for line := range strings.Lines(r.log.String()) {
		if _, said, ok := strings.Cut(line, "event=vip-role "); ok {
			all = append(all, strings.TrimSpace(said))
		}
	}
	r.log.Reset()
	slices.Sort(all)
	return all
}

func (r *roleBed) expectEvents(because string, want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.events()); diff != "" {
		r.t.Errorf("%s: it logs (-want +got)\n%s", because, diff)
	}
}

// twoWeb has a service for IPv4 and one for IPv6.
const twoWeb = `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m
-A -t [fd00:2::1]:80 -s rr
-a -t [fd00:2::1]:80 -r [fd00:1::1]:80 -m
`

func TestADirectorAnswersForWhatTheHostHas(t *testing.T) {
	r := newRoleBed(t, config.VIPHost, twoWeb)
	r.expectAnswers("the host has no address")
	r.expectEvents("each address is told of once", "address=10.2.0.1 role=host answers=false", "address=fd00:2::1 role=host answers=false")
	r.expect("a request is left alone", 1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", syn, ""))
	r.expect("so is a segment of no connection", 1, seg(t, 1, "172.16.0.9:30002", "10.2.0.1:80", ack, ""))
	r.expect("and one to another port", 1, seg(t, 1, "172.16.0.9:30003", "10.2.0.1:81", syn, ""))
	r.expect("and an echo", 1, echo(1, "172.16.0.9", "10.2.0.1", 56))
	if r.guard.have["virtual {6 10.2.0.1 80}"] || r.guard.have["local 10.2.0.1"] {
		t.Errorf("the guard keeps from the host what is left to it: %v", r.guard.have)
	}

	r.set("10.2.0.1", true)
	r.expectAnswers("the host got one", "10.2.0.1")
	r.expectEvents("the change", "address=10.2.0.1 role=host answers=true")
	r.expect("a request is served", 1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", syn, ""),
		"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30001>80")
	if !r.guard.have["virtual {6 10.2.0.1 80}"] {
		t.Errorf("the guard leaves to the host what is served: %v", r.guard.have)
	}
	r.set("fd00:2::1", true)
	r.expectAnswers("the host got the other one", "10.2.0.1", "fd00:2::1")
	r.expect("it is served too", 1, seg(t, 1, "[fd00:c::9]:30001", "[fd00:2::1]:80", syn, ""),
		"server 02:00:00:01:00:01 fd00:c::9>fd00:1::1 tcp 30001>80")
	r.events()
	r.set("10.2.0.1", true)
	r.expectEvents("nothing changed")
}

func TestConnectionsSurviveWhileTheAddressIsElsewhere(t *testing.T) {
	r := newRoleBed(t, config.VIPHost, twoWeb)
	r.set("10.2.0.1", true)
	r.open("172.16.0.9:30001", "10.2.0.1:80")
	r.set("10.2.0.1", false)
	segment := at(t, 1, "172.16.0.9:30001", "10.2.0.1:80", ack, 1000, 5001, "more")
	r.expect("a segment of a connection is left alone as well", 1, segment)
	r.expect("so is an ICMP error about one", 1, icmpAbout(1, "172.16.0.9:30001", "10.2.0.1:80"))
	r.expect("a reply still reaches its client", 2, seg(t, 2, "10.1.0.1:80", "172.16.0.9:30001", ack, ""),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 80>30001")
	if n := len(r.fw.Connections()); n != 1 {
		t.Errorf("%d connections are left", n)
	}
	r.set("10.2.0.1", true)
	r.expect("with the address the connection goes on", 1, segment,
		"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30001>80")
}

// icmpAbout is an ICMP error of a client's router about a packet from the virtual address.
func icmpAbout(link int, client, virtual string) []byte {
	quoted := seg(nil, link, virtual, client, ack, "")[14:]
	from, _, _ := strings.Cut(client, ":")
	to, _, _ := strings.Cut(virtual, ":")
	return icmp(link, from, to, 3, 1, 0, string(quoted[:28]))
}

func TestADirectorThatNeverAnswersServesWhatIsRoutedHere(t *testing.T) {
	r := newRoleBed(t, config.VIPNone, twoWeb)
	r.expectAnswers("it never answers")
	r.expectEvents("each address is told of once", "address=10.2.0.1 role=none answers=false", "address=fd00:2::1 role=none answers=false")
	r.expect("a request is served", 1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", syn, ""),
		"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30001>80")
	r.expect("an echo is answered", 1, echo(1, "172.16.0.9", "10.2.0.1", 8), "client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 EchoReply")
	if !r.guard.have["virtual {6 10.2.0.1 80}"] || !r.guard.have["local 10.2.0.1"] {
		t.Errorf("the guard leaves to the host what is served: %v", r.guard.have)
	}
	r.set("10.2.0.1", true)
	r.expectAnswers("the host's own stack answers for what it has")
}

func TestServicesOfOneAddressHaveRolesOfTheirOwn(t *testing.T) {
	r := newRoleBed(t, config.VIPDefault, `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m
-A -t 10.2.0.1:443 -s rr
-a -t 10.2.0.1:443 -r 10.1.0.1:443 -m
-A -t 10.2.0.1:22 -s rr
-a -t 10.2.0.1:22 -r 10.1.0.1:22 -m`)
	set := func(port uint16, role config.VIPRole) {
		t.Helper()
		mustDo(t, r.fw.SetVIPRole(config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: port}, role))
		checkSame(t, r.testbed)
	}
	served := func(port string) bool {
		t.Helper()
		return len(r.send(1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:"+port, syn, ""))) == 1
	}
	expect := func(because string, want ...string) {
		t.Helper()
		var got []string
		for _, v := range r.fw.VIPs() {
			line := v.Service.String() + " " + string(v.Role)
			if v.Answers {
				line += " answers"
			}
			if v.Serves {
				line += " serves"
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", because, diff)
		}
		for i, port := range []string{"80", "443", "22"} {
			if served(port) != strings.HasSuffix(want[i], " serves") {
				t.Errorf("%s: port %s is served otherwise than listed", because, port)
			}
		}
	}
	set(443, config.VIPHost)
	set(22, config.VIPNone)
	r.expectAnswers("one service wants it", "10.2.0.1")
	expect("one always, one with the host, one never", "-t 10.2.0.1:80 always answers serves", "-t 10.2.0.1:443 host", "-t 10.2.0.1:22 none answers serves")
	r.expectEvents("the address is answered for as before")
	r.host["10.2.0.1"] = true
	mustDo(t, r.fw.RebuildPlan())
	expect("the host has the address", "-t 10.2.0.1:80 always answers serves", "-t 10.2.0.1:443 host answers serves", "-t 10.2.0.1:22 none answers serves")
	r.set("10.2.0.1", false)
	set(80, config.VIPHost)
	r.expectAnswers("no service wants it")
	expect("two with the host, one never", "-t 10.2.0.1:80 host", "-t 10.2.0.1:443 host", "-t 10.2.0.1:22 none serves")
	r.expectEvents("it is served, not answered for", "address=10.2.0.1 role=none answers=false")
	set(80, config.VIPDefault)
	r.expectAnswers("as the director says", "10.2.0.1")
	r.expectEvents("back", "address=10.2.0.1 role=always answers=true")
}

func TestAMarkFollowsTheAddressesOfItsRules(t *testing.T) {
	r := newRoleBed(t, config.VIPHost, "-A -f 1 -s rr\n-a -f 1 -r 10.1.0.1 -m")
	mustDo(t, r.fw.SetMarks([]config.MarkRule{mark("10.2.0.1/32", 80, 1), mark("10.2.0.2/32", 80, 1), mark("10.3.0.0/16", 80, 1)}))
	checkSame(t, r.testbed)
	r.expectAnswers("the host has none")
	first, second := seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", syn, ""), seg(t, 1, "172.16.0.9:30002", "10.2.0.2:80", syn, "")
	r.expect("a request is left alone", 1, first)
	r.expect("what is for a network is served as it comes", 1, seg(t, 1, "172.16.0.9:30003", "10.3.0.1:80", syn, ""),
		"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30003>80")
	r.set("10.2.0.1", true)
	r.expectAnswers("the host has one", "10.2.0.1")
	r.expect("it is served", 1, first, "server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30001>80")
	r.expect("the other one is not", 1, second)
	r.set("10.2.0.1", false)
	r.expect("its connection is left alone now", 1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", ack, ""))
	mustDo(t, r.fw.SetVIPRole(config.Key{Mark: 1}, config.VIPAlways))
	checkSame(t, r.testbed)
	r.expectAnswers("its own role counts", "10.2.0.1", "10.2.0.2")
	r.expect("and is served", 1, second, "server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30002>80")
}

func TestLocalAddressesFollowTheVirtualOne(t *testing.T) {
	r := newRoleBed(t, config.VIPHost, `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:80 --fullnat
--add-laddr -t 10.2.0.1:80 --laddr 10.1.0.200`)
	r.expectAnswers("the stand-by")
	r.set("10.2.0.1", true)
	r.expectAnswers("the active one", "10.1.0.200", "10.2.0.1")
	r.open("172.16.0.9:30001", "10.2.0.1:80")
	r.set("10.2.0.1", false)
	r.expectAnswers("the stand-by with a connection that has the local address")
	mustDo(t, r.fw.DeleteLocal(config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 80}, netip.MustParseAddr("10.1.0.200")))
	mustDo(t, r.fw.RebuildPlan())
	checkSame(t, r.testbed)
}

// What the filters admit is what workers handle: a director that leaves all of its
// addresses to others is not woken for their packets.
func TestFiltersDoNotAdmitWhatIsLeftToOthers(t *testing.T) {
	r := newRoleBed(t, config.VIPHost, twoWeb)
	at := netip.MustParseAddrPort("10.2.0.1:80")
	admits := func(p *plan.Plan) bool { return p.Admits(frame.ProtoTCP, at) }
	if admits(r.fw.applied) {
		t.Error("requests are admitted")
	}
	r.set("10.2.0.1", true)
	if !admits(r.fw.applied) {
		t.Error("requests are not admitted")
	}
}

func TestARoleOutlivesEdits(t *testing.T) {
	r := newRoleBed(t, config.VIPDefault, twoWeb)
	k := config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 80}
	mustDo(t, r.fw.SetVIPRole(k, config.VIPNone))
	r.apply("-E -t 10.2.0.1:80 -s wlc")
	if v, _ := r.fw.State(k); v.VIPRole != config.VIPNone || v.Scheduler != "wlc" {
		t.Errorf("an edit makes it %+v", v.Service)
	}
	if err := r.fw.SetVIPRole(k, "sometimes"); err == nil {
		t.Error("a role that is none is accepted")
	}
}

// What follows the host's addresses is what the host may have in between: its stack is to
// refuse nothing of it, whether the host has the address now or not.
func TestTheHostIsSilentAboutWhatFollowsItsAddresses(t *testing.T) {
	r := newRoleBed(t, config.VIPHost, twoWeb+"-A -f 1 -s rr\n-A -f 2 -s rr")
	mustDo(t, r.fw.SetMarks([]config.MarkRule{mark("10.2.0.1/32", 443, 1), mark("10.3.0.0/16", 443, 2)}))
	web := []string{"{6 10.2.0.1 80}", "{6 fd00:2::1 80}"}
	for _, has := range []bool{false, true} {
		r.set("10.2.0.1", has)
		endpoints, marks := r.fw.applied.Quiet()
		var got []string
		for _, e := range endpoints {
			got = append(got, fmt.Sprint(e))
		}
		if diff := cmp.Diff(web, got); diff != "" {
			t.Errorf("the host has the address: %v (-want +got)\n%s", has, diff)
		}
		if len(marks) != 1 || marks[0].Dst.String() != "10.2.0.1/32" {
			t.Errorf("the host has the address: %v: matches %v", has, marks)
		}
	}
	for _, k := range []config.Key{{Mark: 1}, {Proto: config.TCP, Addr: netip.MustParseAddr("10.2.0.1"), Port: 80}} {
		mustDo(t, r.fw.SetVIPRole(k, config.VIPAlways))
	}
	if endpoints, marks := r.fw.applied.Quiet(); len(endpoints) != 1 || len(marks) != 0 {
		t.Errorf("with other roles: %v, %v", endpoints, marks)
	}
}

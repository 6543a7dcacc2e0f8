package lab_test

import (
	"strings"
	"testing"
	"time"

	"uvs/internal/nstest"
	"uvs/lab"
	"uvs/lab/labtest"
	"uvs/lab/wire"
)

// impair changes a link of a lab and returns how it is then.
func impair(t *testing.T, l *lab.Lab, link, words string) *lab.LinkStatus {
	t.Helper()
	st, err := l.Impair(lab.LinkChange{Link: link, Words: words})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// interfaces describes a node's interfaces by what would change if they were touched.
func interfaces(t *testing.T, l *lab.Lab, node string) string {
	t.Helper()
	return sh(t, l, node, "cd /sys/class/net; for i in eth*; do cat $i/ifindex $i/iflink $i/address $i/carrier_changes $i/flags; done; cat /proc/net/fib_trie")
}

// TestConnectionsLiveOnWhileWiresComeAndGo beside clients and servers, and a director with
// rings on both its interfaces.
func TestConnectionsLiveOnWhileWiresComeAndGo(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	before := interfaces(t, l, "director")
	load := startLoad(t, l, 5)
	load.await(1)
	for _, link := range l.Topology.LinkNames() {
		impair(t, l, link, "delay=1ms,jitter=1ms")
		st := impair(t, l, link, "loss=1% duplicate=1% reorder=1% corrupt=0.1% rate=100mbit")
		want := "delay=1ms jitter=1ms loss=1% reorder=1% duplicate=1% corrupt=0.1% rate=100mbit"
		if st.Path != lab.WirePath || st.Impair == nil || st.Impair.String() != want {
			t.Errorf("%s: path %s, %v; want %s", link, st.Path, st.Impair, want)
		}
	}
	load.await(1)
	for range 2 {
		for _, link := range l.Topology.LinkNames() {
			if st := impair(t, l, link, "heal"); st.Path != lab.KernelPath || st.Impair.String() != "" {
				t.Errorf("%s: path %s, %v after it was healed", link, st.Path, st.Impair)
			}
			impair(t, l, link, "delay=1ms")
		}
	}
	load.await(1)
	if err := l.Heal(); err != nil {
		t.Fatal(err)
	}
	load.await(1)
	load.end()
	if after := interfaces(t, l, "director"); after != before {
		t.Errorf("the director's interfaces were\n%s\nand are\n%s", before, after)
	}
	info, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range info.Links {
		if st.Path != lab.KernelPath || st.In.Passed == 0 || st.Out.Passed == 0 {
			t.Errorf("in the end %s is %+v", st.Name, st)
		}
	}
}

func TestAPulledCableTakesTheCarrier(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	carrier := func() string { return sh(t, l, "rs1", "cat /sys/class/net/eth0/carrier") }
	for _, c := range []struct{ words, want string }{
		{"down", "0\n"}, {"up", "1\n"}, {"delay=1ms down", "0\n"}, {"up", "1\n"}, {"heal", "1\n"}, {"down", "0\n"}, {"heal", "1\n"},
	} {
		st := impair(t, l, "rs1", c.words)
		if got := carrier(); got != c.want || st.Down != (c.want == "0\n") {
			t.Errorf("after %q the carrier is %q, down %v", c.words, got, st.Down)
		}
	}
	if got, err := l.Get("client", "http://192.168.166.129/"); err != nil || got != "Web1\n" {
		t.Errorf("in the end rs1 says %q, %v", got, err)
	}
}

func TestATopologySaysWhatItsLinksAreLike(t *testing.T) {
	topology := routed(t, lab.Options{})
	topology.Node("rs1").Interfaces[0].Impair = wire.Impairment{Delay: 30 * time.Millisecond}
	topology.Node("rs2").Interfaces[0].Impair = wire.Impairment{Down: true}
	l := labtest.Start(t, topology)
	began := time.Now()
	if got, err := l.Get("client", "http://192.168.166.129/"); err != nil || got != "Web1\n" {
		t.Errorf("rs1 said %q, %v", got, err)
	}
	if took := time.Since(began); took < 120*time.Millisecond { // two round trips
		t.Errorf("an answer came after %v", took)
	}
	if got := sh(t, l, "rs2", "cat /sys/class/net/eth0/carrier"); got != "0\n" {
		t.Errorf("rs2's carrier is %q", got)
	}
	info, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	st, err := info.Link("rs1")
	if err != nil || st.Path != lab.WirePath || st.Impair.String() != "delay=30ms" || st.Out.Passed == 0 || st.In.Passed == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	impair(t, l, "rs1", "delay=0")
	impair(t, l, "rs2", "up")
	nstest.Eventually(t, "rs2 answers", func() bool {
		got, err := l.Get("client", "http://192.168.166.131/")
		return err == nil && got == "Web2\n"
	})
}

func TestOneDirectionCanBeImpairedAlone(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	st, err := l.Impair(lab.LinkChange{Link: "client", Words: "loss=100%", Only: lab.In})
	if err != nil || st.Impair != nil || st.In.Impair.Loss != 1 || st.Out.Impair.Loss != 0 {
		t.Fatalf("%+v, %v", st, err)
	}
	out := sh(t, l, "client", "ping -c 2 -i 0.2 -W 1 172.16.253.63 || true")
	if !strings.Contains(out, "2 packets transmitted, 0 received") {
		t.Error(out)
	}
	// What is lost may be the answers to ARP, which the kernel asks for once a second.
	nstest.Eventually(t, "two frames are lost on their way in, and none on its way out", func() bool {
		info, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		if st, err = info.Link("client"); err != nil || st.Out.Lost > 0 {
			t.Fatalf("%+v, %v", st, err)
		}
		return st.In.Lost >= 2 && st.Out.Passed >= 2
	})
	seed := uint64(9)
	if st, err = l.Impair(lab.LinkChange{Link: "client", Seed: &seed}); err != nil || st.Seed != 9 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestLinksThatCannotBeImpairedAreRefused(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	for _, c := range []struct {
		change lab.LinkChange
		want   string
	}{
		{lab.LinkChange{Link: "rs9", Words: "down"}, `no link "rs9", there are client, director:eth0, director:eth1, rs1, rs2`},
		{lab.LinkChange{Link: "director", Words: "down"}, "director has several links, name one: director:eth0 (outside), director:eth1 (inside)"},
		{lab.LinkChange{Link: "rs1:eth1", Words: "down"}, `no link "rs1:eth1", rs1 has rs1:eth0 (inside)`},
		{lab.LinkChange{Link: "rs1", Words: "loss=1"}, "link rs1: impairment loss=1: write a share of the frames in percent, as in loss=1%"},
		{lab.LinkChange{Link: "rs1", Words: "loss=1%", Only: "both"}, `direction "both": it is in, to the node, or out, from it`},
		{lab.LinkChange{Link: "rs1", Words: "down", Only: "in"}, "a cable is pulled for both directions"},
	} {
		if _, err := l.Impair(c.change); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.change, err, c.want)
		}
	}
	measured := routed(t, lab.Options{})
	measured.ByName = true
	m := labtest.Start(t, measured)
	if _, err := m.Impair(lab.LinkChange{Link: "rs1", Words: "delay=1ms"}); err == nil || !strings.Contains(err.Error(), "belongs to a measurement") {
		t.Errorf("a measurement's link: %v", err)
	}
	measured.Node("rs1").Interfaces[0].Impair.Loss = 0.1
	if _, err := lab.Start(measured, lab.Config{Program: labtest.Program(t)}); err == nil || !strings.Contains(err.Error(), "the links of a measurement") {
		t.Errorf("a measurement over a wire: %v", err)
	}
}

func TestAChangeOfNoLinkHealsNone(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	impair(t, l, "rs1", "loss=1%")
	if err := lab.ChangeNoLink(l); err == nil || !strings.Contains(err.Error(), "names none") {
		t.Errorf("the error is %v", err)
	}
	in, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	if st, err := in.Link("rs1"); err != nil || st.Path != lab.WirePath {
		t.Errorf("rs1: %+v, %v", st, err)
	}
}

// A link whose wire cannot be put in is not said to be impaired: here the name of the wire's port
// is taken.
func TestALinkThatFailsToBeImpairedIsNotImpaired(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	labtest.NeedIP(t)
	if _, err := l.Exec("client", "nsenter", "-t", "1", "-n", "ip", "link", "add", "w1.0", "type", "veth", "peer", "name", "taken"); err != nil {
		labtest.Skip(t, "needs nsenter of util-linux")
	}
	if _, err := l.Impair(lab.LinkChange{Link: l.Topology.LinkNames()[0], Words: "loss=1%"}); err == nil {
		t.Fatal("the name of the port is taken, and the wire is in")
	}
	in, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	if st := in.Links[0]; st.Path != lab.KernelPath || !st.Out.Impair.Perfect() {
		t.Errorf("%s: path %s, impaired by %s", st.Name, st.Path, st.Out.Impair)
	}
}

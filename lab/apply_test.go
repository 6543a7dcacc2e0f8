package lab_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/lab"
	"uvs/lab/labtest"
	"uvs/lab/wire"
)

// pids returns the processes of a lab's services, by node and name.
func pids(t *testing.T, l *lab.Lab) map[string]int {
	t.Helper()
	in, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]int{}
	for _, s := range in.Services {
		if !s.Running {
			t.Errorf("%s of %s does not run", s.Name, s.Node)
		}
		all[s.Node+" "+s.Name] = s.PID
	}
	return all
}

// keeps expects that the processes that were there are there still.
func keeps(t *testing.T, l *lab.Lab, before map[string]int) {
	t.Helper()
	for name, pid := range pids(t, l) {
		if was, known := before[name]; known && was != pid {
			t.Errorf("%s was process %d and is %d", name, was, pid)
		}
	}
}

func apply(t *testing.T, l *lab.Lab, to lab.Topology) {
	t.Helper()
	notes, err := l.Apply(to)
	if err != nil {
		t.Fatal(err)
	}
	if len(notes) > 0 {
		t.Errorf("it could not undo: %s", notes)
	}
	if in, err := l.Info(); err != nil || len(in.Topology.Plan(&to)) > 0 {
		t.Errorf("it is not what was applied: %v, %v", in.Topology.Plan(&to), err)
	}
}

// A lab with connections becomes another one and is made what it was again: no process of a node
// that stays ends, and no connection breaks.
func TestALabBecomesAnotherWhileItServes(t *testing.T) {
	for _, name := range []string{"nat", "dr6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			small := labtest.Build(t, name, lab.Options{})
			l := labtest.Start(t, small)
			before := pids(t, l)
			load := startLoad(t, l, 5)
			load.await(1)

			large := labtest.Build(t, name, lab.Options{RealServers: 4, MTU: 1400})
			large.Networks = append(large.Networks, lab.Network{Name: "new"})
			client, rs1 := large.Node("client"), large.Node("rs1")
			client.Interfaces = append(client.Interfaces, lab.Interface{Network: "new", Addresses: []lab.Address{prefix("198.51.100.1/24")}})
			rs1.Interfaces = append(rs1.Interfaces, lab.Interface{Network: "new", Addresses: []lab.Address{prefix("198.51.100.2/24")}})
			rs1.Interfaces[0].Addresses = append(rs1.Interfaces[0].Addresses, prefix("10.9.0.1/24"))
			rs1.Interfaces[0].Impair = wire.Impairment{Loss: 0.0001}
			client.Routes = []lab.Route{{To: netip.MustParsePrefix("203.0.113.0/24"), Via: netip.MustParseAddr("198.51.100.2")}}
			rs1.Services = append(rs1.Services, lab.Service{Name: "more", Ready: "tcp:81", Command: lab.Command{"uvs", "http", "--text", "More", "--listen", ":81"}})
			apply(t, l, large)
			keeps(t, l, before)
			load.await(1)
			turnsUp(t, l, "Web3") // the load takes turns, too
			turnsUp(t, l, "Web4")
			if got := pagesOf(t, l, "http://198.51.100.2:81/", 1); got[0] != "More" {
				t.Errorf("the new service on the new link says %s", got)
			}
			for _, n := range l.Topology.Nodes {
				if names := labtest.Exec(t, l, n.Name, "ls", "/run/netns"); !strings.Contains(names, "rs4") {
					t.Errorf("%s does not know rs4: %s", n.Name, names)
				}
			}

			apply(t, l, small)
			keeps(t, l, before)
			load.await(1)
			load.end()
			if got := pids(t, l); !cmp.Equal(got, before) {
				t.Errorf("the processes are %v, were %v", got, before)
			}
			if names := labtest.Exec(t, l, "rs1", "ls", "/run/netns"); strings.Contains(names, "rs4") {
				t.Errorf("rs4 is still there: %s", names)
			}
			if out := labtest.Exec(t, l, "director", "ipvsadm", "-Sn"); strings.Count(out, "-a ") != 2 {
				t.Errorf("the rules are\n%s", out)
			}
			turns(t, l)
		})
	}
}

func prefix(text string) lab.Address { return lab.Address{Prefix: netip.MustParsePrefix(text)} }

// What fails is not taken for done: the next call does it.
func TestWhatFailsIsDoneTheNextTime(t *testing.T) {
	topology := labtest.Build(t, "dr", lab.Options{})
	l := labtest.Start(t, topology)
	wrong := labtest.Build(t, "dr", lab.Options{})
	d := wrong.Node("director")
	d.Setup = append(slices.Clone(d.Setup), lab.Command{"ipvsadm", "-A", "-t", "172.16.253.63:81", "-s", "round"})
	if _, err := l.Apply(wrong); err == nil || !strings.Contains(err.Error(), "round") {
		t.Errorf("the error is %v", err)
	}
	d.Setup[len(d.Setup)-1][5] = "rr"
	apply(t, l, wrong)
	if out := labtest.Exec(t, l, "director", "ipvsadm", "-Ln"); !strings.Contains(out, "172.16.253.63:81 rr") {
		t.Errorf("the rules are\n%s", out)
	}
}

// What is left when a step fails is done the next time, though the topology has it already: here an
// address of the node after the one that fails. One that was typed by hand is there.
func TestWhatFailsOnOneNodeIsDoneOnTheOthersTheNextTime(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	labtest.NeedIP(t)
	sh(t, l, "client", "ip addr add 10.8.0.1/24 dev eth0")
	next := labtest.Build(t, "dr", lab.Options{})
	addTo(next.Node("client"), "10.8.0.1/24")
	addTo(next.Node("rs1"), "10.9.0.1/24")
	next.Node("client").Routes = []lab.Route{{To: netip.MustParsePrefix("203.0.113.0/24"), Via: netip.MustParseAddr("198.51.100.2")}}
	if _, err := l.Apply(next); err == nil || !strings.Contains(err.Error(), "client: route 203.0.113.0/24") {
		t.Fatalf("the error is %v", err)
	}
	next.Node("client").Routes = nil
	in, err := l.Info()
	if err != nil || !slices.ContainsFunc(in.Plan(&next), func(c lab.Change) bool { return c.What == "address 10.9.0.1/24" }) {
		t.Errorf("the plan is %v, %v", in.Plan(&next), err)
	}
	apply(t, l, next)
	if out := sh(t, l, "rs1", "ip -o addr show"); !strings.Contains(out, "10.9.0.1/24") {
		t.Errorf("rs1 has\n%s", out)
	}
	if in, err := l.Info(); err != nil || len(in.Plan(&next)) > 0 {
		t.Errorf("still to do: %v, %v", in.Plan(&next), err)
	}
}

func TestALabBecomesAnotherWithCablesPulled(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	impair(t, l, "client", "down")
	next := labtest.Build(t, "dr", lab.Options{RealServers: 3})
	addTo(next.Node("rs1"), "10.9.0.1/24")
	next.Node("rs2").Interfaces[0].Impair = wire.Impairment{Down: true}
	next.Node("rs3").Interfaces[0].Impair = wire.Impairment{Down: true}
	apply(t, l, next)
	apply(t, l, labtest.Build(t, "dr", lab.Options{}))
	in, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	for name, down := range map[string]bool{"client": true, "rs1": false, "rs2": false} {
		if st, err := in.Link(name); err != nil || st.Down != down {
			t.Errorf("%s: pulled %t, want %t (%v)", name, st.Down, down, err)
		}
	}
}

// A set-up command that does not end keeps nobody from looking at the lab, and from taking it down.
func TestALabThatBecomesAnotherCanBeTakenDown(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	next := labtest.Build(t, "dr", lab.Options{})
	next.Node("rs1").Setup = append(slices.Clone(next.Node("rs1").Setup), lab.Command{"sleep", "1000"})
	applied := make(chan error, 1)
	go func() {
		_, err := l.Apply(next)
		applied <- err
	}()
	for begun := false; !begun; {
		in, err := l.Info()
		if err != nil {
			t.Fatal(err)
		}
		begun = len(in.Topology.Plan(&next)) == 0
	}
	if _, err := l.Logs("director"); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := <-applied; err == nil {
		t.Error("the command that does not end is done")
	}
}

// Nodes that stay keep their numbers, and with them MAC addresses and the names of ports.
func TestALabThatBecomesAnotherKnowsItsAddresses(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	next := labtest.Build(t, "dr", lab.Options{RealServers: 3})
	last := len(next.Nodes) - 1
	next.Nodes = append([]lab.Node{next.Nodes[last]}, next.Nodes[:last]...)
	apply(t, l, next)
	for i, n := range l.Topology.Nodes {
		if got := strings.TrimSpace(labtest.Exec(t, l, n.Name, "cat", "/sys/class/net/eth0/address")); got != l.Topology.MAC(i, 0).String() {
			t.Errorf("%s has %s, and the topology says %s", n.Name, got, l.Topology.MAC(i, 0))
		}
	}
}

func TestPlansAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*lab.Topology)
		want   string
	}{
		"nothing":                  {func(*lab.Topology) {}, ""},
		"a node less":              {func(t *lab.Topology) { t.Nodes = t.Nodes[:3] }, "- node rs2"},
		"an address more":          {func(t *lab.Topology) { addTo(t.Node("rs1"), "10.7.0.1/24") }, "+ address 10.7.0.1/24"},
		"another network":          {func(t *lab.Topology) { t.Node("rs1").Interfaces[0].Network = "outside" }, "~ link rs1:eth0"},
		"another scheduler":        {func(t *lab.Topology) { t.Node("director").Setup[0][5] = "wlc" }, "~ director# ipvsadm -E -t 172.16.253.63:80 -s wlc"},
		"a server less":            {func(t *lab.Topology) { n := t.Node("director"); n.Setup = n.Setup[:2] }, "~ director# ipvsadm -d -t 172.16.253.63:80 -r 192.168.166.131:80"},
		"another weight":           {func(t *lab.Topology) { n := t.Node("director"); n.Setup[1] = append(n.Setup[1], "-w", "3") }, "~ director# ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.129:80 -m -w 3"},
		"no service":               {func(t *lab.Topology) { t.Node("director").Setup = nil }, "~ director# ipvsadm -D -t 172.16.253.63:80"},
		"a delay":                  {func(t *lab.Topology) { t.Node("rs1").Interfaces[0].Impair.Loss = 0.01 }, "~ link rs1:eth0"},
		"another gateway":          {func(t *lab.Topology) { t.Node("rs1").Gateway = netip.MustParseAddr("192.168.166.1") }, "- route default via 192.168.166.130, + route default via 192.168.166.1"},
		"another page":             {func(t *lab.Topology) { t.Node("rs1").Services[0] = lab.WebService("Other") }, "~ service http of rs1"},
		"an MTU":                   {func(t *lab.Topology) { t.Networks[1].MTU = 1400 }, "~ network inside"},
		"no forwarding":            {func(t *lab.Topology) { t.Node("director").Forward = false }, "~ forward of director"},
		"a parameter less":         {func(t *lab.Topology) { t.Node("rs1").Setup = nil }, "= rs1# sysctl -qw a=1, ~ rs1# ip addr del 10.0.0.1/32 dev lo"},
		"bare":                     {func(t *lab.Topology) { t.Bare = true }, "! bare"},
		"offloads":                 {func(t *lab.Topology) { t.Networks[0].NoOffload = true }, "! network outside"},
		"an interface of a client": {func(t *lab.Topology) { n := t.Node("client"); n.Interfaces = nil }, "- link client:eth0"},
	} {
		build := func() lab.Topology {
			topology := labtest.Build(t, "nat", lab.Options{})
			topology.Node("rs1").Setup = []lab.Command{{"ip", "addr", "add", "10.0.0.1/32", "dev", "lo"}, {"sysctl", "-qw", "a=1"}}
			topology.Checks = []lab.Check{{Kind: "ping"}}
			return topology
		}
		old, next := build(), build()
		c.change(&next)
		var got []string
		for _, change := range old.Plan(&next) {
			got = append(got, change.Sign+" "+change.What)
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, text, c.want)
		}
		if possible := lab.Possible(old.Plan(&next)); possible == strings.HasPrefix(c.want, "!") {
			t.Errorf("%s: possible %t", name, possible)
		}
	}
}

func addTo(n *lab.Node, address string) {
	n.Interfaces[0].Addresses = append(slices.Clone(n.Interfaces[0].Addresses), prefix(address))
}

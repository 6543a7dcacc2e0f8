package lab_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"uvs/internal/nstest"
	"uvs/lab"
	"uvs/lab/labtest"
)

// twoDirectors is a lab by direct routing or FULLNAT whose director has a twin on the same
// segments, "standby", with the same rules and role. Neither host has the virtual address.
func twoDirectors(t *testing.T, name, role string) lab.Topology {
	t.Helper()
	topology := labtest.Build(t, name, lab.Options{VIPElsewhere: true})
	d := topology.Node("director")
	d.Services[0].Command = append(d.Services[0].Command, "--vip-role", role, "--announce-every", "7s")
	twin := *d
	twin.Name = "standby"
	twin.Interfaces = nil
	for _, i := range d.Interfaces {
		p := i.Addresses[0].Prefix
		other := p.Addr()
		for range 20 { // an address that nobody has
			other = other.Next()
		}
		twin.Interfaces = append(twin.Interfaces, lab.Interface{Network: i.Network, Addresses: []lab.Address{{Prefix: netip.PrefixFrom(other, p.Bits())}}})
	}
	topology.Nodes = append(topology.Nodes, twin)
	return topology
}

// giveVIP gives the virtual address to a node, after it has been taken from the other one.
func giveVIP(t *testing.T, l *lab.Lab, from, to string) {
	t.Helper()
	bits := 32
	if l.Topology.VIP.Is6() {
		bits = 128
	}
	vip := fmt.Sprintf("%s/%d", l.Topology.VIP, bits)
	if from != "" {
		labtest.Exec(t, l, from, "ip", "addr", "del", vip, "dev", "eth0")
	}
	add := []string{"ip", "addr", "add", vip, "dev", "eth0"}
	if bits == 128 {
		add = append(add, "nodad")
	}
	labtest.Exec(t, l, to, add...)
	nstest.Eventually(t, to+" answers for the address", func() bool {
		out, err := l.Exec(to, "uvs", "vip")
		return err == nil && strings.Contains(out, "yes      yes")
	})
}

// known returns how many connections a director has in its table.
func known(t *testing.T, l *lab.Lab, node string) int {
	t.Helper()
	return strings.Count(labtest.Exec(t, l, node, "ipvsadm", "-Lcn"), "\nTCP")
}

// Two directors with the same rules are on one segment. The one whose host has the address
// serves, the other one is silent; when the address moves, so do the clients, and
// connections go on that are with it again.
func TestOneOfTwoDirectorsAnswers(t *testing.T) {
	for _, name := range []string{"dr", "dr6", "fullnat"} {
		t.Run(name, func(t *testing.T) {
			l := labtest.Start(t, twoDirectors(t, name, "host"))
			labtest.NeedIP(t)
			giveVIP(t, l, "", "director")
			first := openSession(t, l)
			if ok, failed := attempts(l, 10, patience); failed != 0 {
				t.Fatalf("the director has the address: answers %v, %d failed", ok, failed)
			}
			if n := known(t, l, "standby"); n != 0 {
				t.Errorf("the stand-by has %d connections", n)
			}
			giveVIP(t, l, "director", "standby")
			before := known(t, l, "director")
			if ok, failed := attempts(l, 10, patience); failed != 0 {
				t.Fatalf("the stand-by has the address: answers %v, %d failed", ok, failed)
			}
			if n := known(t, l, "director"); n != before {
				t.Errorf("the director has %d connections more without the address", n-before)
			}
			giveVIP(t, l, "standby", "director")
			if server, err := first.ask(patience); err != nil || server != first.server {
				t.Errorf("the connection that was kept: %q, %v", server, err)
			}
			for node, changes := range map[string]int{"director": 4, "standby": 3} {
				logs, err := l.Logs(node)
				if n := strings.Count(logs, "event=vip-role"); err != nil || n != changes {
					t.Errorf("%s tells of %d changes of its role, %v", node, n, err)
				}
			}
		})
	}
}

// A director that never answers serves what is routed to it, also as one of two.
func TestADirectorServesWhatIsRoutedToIt(t *testing.T) {
	l := labtest.Start(t, twoDirectors(t, "dr", "none"))
	labtest.NeedIP(t)
	if _, failed := attempts(l, 1, patience); failed == 0 {
		t.Fatal("somebody answers for the address")
	}
	for _, node := range []string{"director", "standby"} {
		labtest.Exec(t, l, "client", "ip", "route", "replace", l.Topology.VIP.String()+"/32", "via", l.Topology.Node(node).Address().String())
		if ok, failed := attempts(l, 4, patience); failed != 0 {
			t.Errorf("by way of %s: answers %v, %d failed", node, ok, failed)
		}
		if n := known(t, l, node); n == 0 {
			t.Errorf("%s has no connection", node)
		}
	}
}

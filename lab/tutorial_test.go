package lab_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// step is a line of the tutorial: a command, its node, and its output if the tutorial shows it.
type step struct{ node, typed, prints string }

// typeSteps types the steps in a shell of the node.
func typeSteps(t *testing.T, l *lab.Lab, steps []step) {
	t.Helper()
	for _, s := range steps {
		got := labtest.Exec(t, l, s.node, "sh", "-c", s.typed)
		if s.prints != "" && got != s.prints {
			t.Errorf("%s# %s\ngot\n%swant\n%s", s.node, s.typed, got, s.prints)
		}
	}
}

// curl sends n requests from the client with the tool that stands first in
// its PATH, and returns what was printed.
func curl(t *testing.T, l *lab.Lab, n int) []string {
	t.Helper()
	script := "for i in $(seq " + strconv.Itoa(n) + "); do curl -s -m 5 172.16.253.63 || exit 1; done"
	return strings.Fields(labtest.Exec(t, l, "client", "sh", "-c", script))
}

func tally(pages []string) map[string]int {
	m := map[string]int{}
	for _, p := range pages {
		m[p]++
	}
	return m
}

// TestExperiment1 is the tutorial's experiment with NAT, word for word.
func TestExperiment1(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		name := "VIP on the director's interface"
		if elsewhere {
			name = "VIP on no interface"
		}
		t.Run(name, func(t *testing.T) {
			l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{Bare: true, VIPElsewhere: elsewhere}))
			typeSteps(t, l, []step{
				{"director", "ipvsadm -A -t 172.16.253.63:80 -s rr", ""},
				{"director", "ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.129 -m", ""},
				{"director", "ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.131 -m", ""},
				{"director", "ipvsadm -Ln", `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  172.16.253.63:80 rr
  -> 192.168.166.129:80           Masq    1      0          0         ` + `
  -> 192.168.166.131:80           Masq    1      0          0         ` + `
`},
				{"director", "sysctl -w net.ipv4.ip_forward=1", "net.ipv4.ip_forward = 1\n"},
			})
			pages := curl(t, l, 120)
			for i, p := range pages {
				if i > 0 && p == pages[i-1] {
					t.Fatalf("request %d was answered by %s again", i+1, p)
				}
			}
			if got := tally(pages); got["Web1"] != 60 || got["Web2"] != 60 {
				t.Errorf("answers %v, want 60 each", got)
			}
			listing, err := l.Stats(120)
			if err != nil {
				t.Fatal(err)
			}
			for _, server := range []string{"192.168.166.129:80", "192.168.166.131:80"} {
				if !statsLine(listing, server, "60") {
					t.Errorf("%s has not 60 connections with packets both ways:\n%s", server, listing)
				}
			}
			typeSteps(t, l, []step{
				{"director", "ipvsadm -E -t 172.16.253.63:80 -s wrr", ""},
				{"director", "ipvsadm -e -t 172.16.253.63:80 -r 192.168.166.129 -m -w 2", ""},
			})
			if got := tally(curl(t, l, 30)); !maps.Equal(got, map[string]int{"Web1": 20, "Web2": 10}) {
				t.Errorf("with weights 2 and 1: %v", got)
			}
		})
	}
}

// statsLine reports whether the listing has a line for server with this many connections and
// no zero after them.
func statsLine(listing, server, conns string) bool {
	for line := range strings.Lines(listing) {
		f := strings.Fields(line)
		if len(f) == 7 && f[1] == server {
			return f[2] == conns && f[3] != "0" && f[4] != "0" && f[5] != "0" && f[6] != "0"
		}
	}
	return false
}

// TestExperiment2 is the tutorial's experiment with direct routing behind a gateway, word for
// word.
func TestExperiment2(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr-gateway", lab.Options{Bare: true}))
	typeSteps(t, l, []step{
		{"director", "ipvsadm -A -t 172.16.253.63:80 -s wrr", ""},
		{"director", "ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.129 -g -w 2", ""},
		{"director", "ipvsadm -a -t 172.16.253.63:80 -r 192.168.166.131 -g -w 6", ""},
		{"director", "sysctl -w net.ipv4.ip_forward=1", ""},
	})
	for _, rs := range []string{"rs1", "rs2"} {
		typeSteps(t, l, []step{
			{rs, "ip addr add 172.16.253.63/32 dev lo", ""},
			{rs, "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore", ""},
			{rs, "echo 1 > /proc/sys/net/ipv4/conf/lo/arp_ignore", ""},
			{rs, "echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce", ""},
			{rs, "echo 2 > /proc/sys/net/ipv4/conf/lo/arp_announce", ""},
		})
	}
	if got := tally(curl(t, l, 40)); !maps.Equal(got, map[string]int{"Web1": 10, "Web2": 30}) {
		t.Errorf("with weights 2 and 6: %v, want 1 : 3", got)
	}
}

// A bare lab with all the commands typed is the same as the lab that is not bare.
func TestWhatIsLeftToTypeIsComplete(t *testing.T) {
	for _, topology := range lab.Names() {
		t.Run(topology, func(t *testing.T) {
			l := labtest.Start(t, labtest.Build(t, topology, lab.Options{Bare: true}))
			for _, n := range l.Topology.Nodes {
				for _, c := range n.Setup {
					labtest.Exec(t, l, n.Name, c...)
					if slices.Contains(c, "addr") {
						awaitLocal(t, l, n.Name, netip.MustParsePrefix(c[3]).Addr())
					}
				}
				for _, s := range n.Services {
					if s.Setup {
						labtest.Exec(t, l, n.Name, "sh", "-c", s.Command.String()+" >/dev/null 2>&1 &")
						awaitLock(t, l, n.Name)
					}
				}
			}
			if len(l.Topology.VIPs()) == 1 {
				turns(t, l)
				return
			}
			for _, url := range l.Topology.URLs("/") {
				pagesOf(t, l, url, 2)
			}
		})
	}
}

// awaitLocal waits until a node answers for a new address: a worker of the kernel adds the local
// route of an IPv6 address after "ip" has returned, and until then packets to it are answered
// with "no route".
func awaitLocal(t *testing.T, l *lab.Lab, node string, addr netip.Addr) {
	t.Helper()
	labtest.Exec(t, l, node, "sh", "-c",
		fmt.Sprintf("for i in $(seq 500); do ip route get %v | grep -q ^local && exit 0; sleep 0.01; done; exit 1", addr))
}

// awaitLock waits until the decapsulator of a node listens.
func awaitLock(t *testing.T, l *lab.Lab, node string) {
	t.Helper()
	labtest.Exec(t, l, node, "sh", "-c", "for i in $(seq 500); do grep -q @uvs-decap /proc/net/unix && exit 0; sleep 0.01; done; exit 1")
}

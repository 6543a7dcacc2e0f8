package topofile_test

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/lab"
	"uvs/lab/topofile"
)

var compare = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// seedOf are seeds that topologies of so many real servers have in a file.
var seedOf = map[int]uint64{1: math.MaxUint64, 5: 1}

// Every built-in topology, with every option, comes back from its file as it was.
func TestEachTopologyComesBackFromItsFile(t *testing.T) {
	for _, name := range append(lab.Names(), lab.PairNames()...) {
		for _, o := range []lab.Options{
			{}, {RealServers: 1}, {RealServers: 5, Bare: true}, {VIPElsewhere: true, MTU: 1400, NoOffload: true}, {RealServers: 100},
		} {
			if o.Bare && strings.HasPrefix(name, "ha") || o.RealServers == 100 && name != "nat" {
				continue
			}
			t.Run(fmt.Sprint(name, " ", o), func(t *testing.T) {
				want, err := lab.Build(name, o)
				if err != nil {
					t.Fatal(err)
				}
				want.Seed = seedOf[o.RealServers]
				text, err := topofile.Format(&want)
				if err != nil {
					t.Fatal(err)
				}
				got, err := topofile.Parse("nat.yaml", text)
				if err != nil {
					t.Fatalf("%v\n%s", err, text)
				}
				if diff := cmp.Diff(want, got, compare); diff != "" {
					t.Errorf("%s\n%s", diff, text)
				}
			})
		}
	}
}

// What a person leaves out is written out, and stays as it is through another file.
func TestShortWordsAreWrittenOut(t *testing.T) {
	got, err := topofile.Parse("my.yaml", []byte(`
nodes:
  gw: {role: router, eth0: 172.16.0.1/24, eth1: 10.0.0.1/24}
  client: {role: client, eth0: 172.16.0.9/24, gateway: 172.16.0.1}
  director: {role: director, eth0: 10.0.0.2/24, vip: 10.0.0.100, gateway: 10.0.0.1, ipvsadm: ["-A -t 10.0.0.100:80 -s wrr"]}
  rs1: &rs {role: real, mode: dr, weight: 3, eth0: 10.0.0.11/24, gateway: 10.0.0.1, http: Web1}
  rs2: {<<: *rs, eth0: 10.0.0.12/24, http: Web2}
links:
  - outside: [client, gw:eth0]
  - lan: {mtu: 1400, ends: [gw:eth1, director, {to: rs1:eth0, delay: 20ms, down: true}, rs2:eth0]}
`))
	if err != nil {
		t.Fatal(err)
	}
	var setup []string
	for _, n := range got.Nodes {
		for _, c := range n.Setup {
			setup = append(setup, n.Name+"# "+c.String())
		}
	}
	const silent = "sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.lo.arp_ignore=1 " +
		"net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.lo.arp_announce=2"
	want := []string{
		"director# ipvsadm -A -t 10.0.0.100:80 -s wrr",
		"director# ipvsadm -a -t 10.0.0.100:80 -r 10.0.0.11 -g -w 3",
		"director# ipvsadm -a -t 10.0.0.100:80 -r 10.0.0.12 -g -w 3",
		"rs1# " + silent, "rs1# ip addr add 10.0.0.100/32 dev lo",
		"rs2# " + silent, "rs2# ip addr add 10.0.0.100/32 dev lo",
	}
	if diff := cmp.Diff(want, setup); diff != "" {
		t.Error(diff)
	}
	if got.Name != "my" || !got.Node("gw").Forward || got.Network("lan").MTU != 1400 || got.Network("outside").MTU != 1500 ||
		got.Node("rs1").Interfaces[0].Impair.String() != "delay=20ms down" || got.URL("/") != "http://10.0.0.100/" {
		t.Errorf("%+v", got)
	}
	again(t, &got)
}

// again expects that a topology comes back from its file as it is.
func again(t *testing.T, want *lab.Topology) {
	t.Helper()
	text, err := topofile.Format(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := topofile.Parse("again.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !topofile.Equal(want, &got) {
		t.Errorf("%s\n%s", cmp.Diff(*want, got, compare), text)
	}
}

// JSON is YAML.
func TestJSONIsReadToo(t *testing.T) {
	got, err := topofile.Parse("my.json", []byte(`{"nodes": {"a": {"eth0": "10.0.0.1/24"}, "b": {"role": "client", "eth0": ["10.0.0.2/24"]}},
	"links": [{"lan": ["a:eth0", {"to": "b:eth0", "loss": "1%"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	again(t, &got)
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"nat", "mixed", "cache-farm6", "ha", "two-vips", "fullnat"} {
		topology, err := lab.Build(name, lab.Options{})
		if err != nil {
			f.Fatal(err)
		}
		text, err := topofile.Format(&topology)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(good))
	f.Add([]byte("nodes: {a: &a {<<: *a, eth0: 10.0.0.1/24}}\nlinks: {lan: [a]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := topofile.Parse("fuzz.yaml", text)
		if err != nil {
			return
		}
		written, err := topofile.Format(&got)
		if err != nil {
			return // such as a command that nobody can type
		}
		back, err := topofile.Parse("fuzz.yaml", written)
		if err != nil || !topofile.Equal(&got, &back) {
			t.Errorf("%v\n%s\nwas written as\n%s", err, text, written)
		}
	})
}

// An empty list of checks promises nothing, also through another file.
func TestAnEmptyListOfChecksPromisesNothing(t *testing.T) {
	got, err := topofile.Parse("my.yaml", []byte(good+"check: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	if all := got.Promises(); len(all) != 0 {
		t.Errorf("it promises %v", all)
	}
	again(t, &got)
}

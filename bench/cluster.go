package bench

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"uvs/bench/load"
	"uvs/bench/report"

	"uvs/lab"
)

// A cluster is the lab of measures that need servers which come, go and die: a
// director and servers that are nodes of their own, on one network with the
// client.
//
//	client ───┬─── director
//	          ├─── rs1
//	          └─── rs2, …
//
// Clients have addresses in 198.18.128.0/20, behind the client. What is served is
// 198.18.0.10, or all of 198.18.64.0/18 for schedulers that look at the address.
type cluster struct {
	target    load.Target
	scheduler string
	servers   int // in the service at the beginning; one more stands by
	byAddress bool
}

// MaxClusterServers is how many servers a cluster has room for.
const MaxClusterServers = 32

// clusterPort is where servers listen.
const clusterPort = 80

func clusterAddr(host int) netip.Addr { return outside(0, byte(host)) }

func serverName(i int) string { return fmt.Sprintf("rs%d", i+1) }

// topology is the lab of a cluster.
func (c *cluster) topology() lab.Topology {
	t := lab.Topology{Name: "bench", ByName: true, Title: "client, director and servers that come and go",
		Networks: []lab.Network{{Name: "lan", MTU: insideMTU}}}
	client := lab.Node{Name: load.ClientNode, Role: lab.Client, Interfaces: []lab.Interface{on("lan", clusterAddr(clientHost))},
		Setup: []lab.Command{
			{"ip", "route", "add", "local", "198.18.128.0/20", "dev", "lo"},
			{"ip", "route", "add", "198.18.64.0/18", "via", clusterAddr(middleHost).String()},
			{"sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1"},
		}}
	director := lab.Node{Name: "director", Role: lab.Director, Gateway: clusterAddr(clientHost),
		Interfaces: []lab.Interface{on("lan", clusterAddr(middleHost))},
		Services: []lab.Service{{Name: "director", Ready: "unix:@uvs",
			Command: lab.Command{program(c.target), "director", "--profile", profile(c.target), "--io", cmp.Or(c.target.IO, "ring"),
				"--workers", fmt.Sprint(max(c.target.Workers, 1))}}},
	}
	t.Nodes = []lab.Node{client, director}
	for i := range c.servers + 1 {
		t.Nodes = append(t.Nodes, c.server(i))
	}
	return t
}

// server is one of them. Those that answer clients themselves hold what is served.
func (c *cluster) server(i int) lab.Node {
	n := lab.Node{Name: serverName(i), Role: lab.Real, Gateway: clusterAddr(middleHost),
		Interfaces: []lab.Interface{on("lan", clusterAddr(serverHost+i))},
		Services: []lab.Service{{Name: "serve", Ready: fmt.Sprint("tcp:", clusterPort),
			Command: lab.Command{"uvs", "bench", "serve", "--number", fmt.Sprint(i + 1), "--port", fmt.Sprint(clusterPort)}}},
	}
	if !c.target.DirectReturn() {
		return n
	}
	n.Gateway = clusterAddr(clientHost)
	n.Setup = []lab.Command{
		{"sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"},
		{"ip", "addr", "add", clusterAddr(vipHost).String() + "/32", "dev", "lo"},
		{"ip", "route", "add", "local", "198.18.64.0/18", "dev", "lo"},
	}
	if c.target.Method == load.Tunnel {
		n.Services = append(n.Services, lab.Service{Name: "decap", Command: lab.Command{"uvs", "decap"}, Ready: "unix:@uvs-decap"})
	}
	return n
}

// service is the virtual service in ipvsadm's words.
func (c *cluster) service() []string {
	if c.byAddress {
		return []string{"-f", "1"}
	}
	return []string{"-t", netip.AddrPortFrom(clusterAddr(vipHost), clusterPort).String()}
}

// real is a real server in ipvsadm's words.
func (c *cluster) real(i int) []string {
	port := uint16(clusterPort)
	if c.byAddress {
		port = 0
	}
	return []string{"-r", netip.AddrPortFrom(clusterAddr(serverHost+i), port).String()}
}

// rules are the director's.
func (c *cluster) rules() string {
	service := strings.Join(c.service(), " ")
	var b strings.Builder
	if c.byAddress {
		fmt.Fprintf(&b, "mark -F\nmark -A -d 198.18.64.0/18 -p tcp --dport %d --set-mark 1\n", clusterPort)
	}
	fmt.Fprintf(&b, "-A %s -s %s\n", service, c.scheduler)
	if c.target.Method == load.FullNAT {
		fmt.Fprintf(&b, "--add-laddr %s --laddr %v\n", service, clusterAddr(localHost))
	}
	for i := range c.servers {
		fmt.Fprintf(&b, "-a %s %s %s -w 1\n", service, strings.Join(c.real(i), " "), methodFlag[c.target.Method])
	}
	return b.String()
}

// open builds the cluster with a tester in its client.
func (c *cluster) open(o *Options) (*testbed, *running, error) {
	l, err := lab.Start(o.impaired(c.topology()), lab.Config{Program: o.Program})
	if err != nil {
		return nil, nil, err
	}
	b := &testbed{lab: l, lanes: map[string]*running{}, cpus: report.Placement{Tester: -1, Forwarder: -1}, logs: o.Log}
	r := &running{lane: lane{node: "director"}}
	if err = b.startTester(); err == nil {
		err = b.apply(r, c.rules())
	}
	if err != nil {
		b.Close()
		return nil, nil, err
	}
	return b, r, nil
}

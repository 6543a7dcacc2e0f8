package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// Options are what the built-in topologies leave open.
type Options struct {
	RealServers int  // 2 if 0, at most 100
	Bare        bool // nothing of the virtual server is configured: the student types it
	// VIPElsewhere takes the VIP off the director's interface, so that only
	// the director's own ARP answers for it. The interface has another
	// address of the same network.
	VIPElsewhere bool
	MTU          int  // of every network, 1500 if 0
	NoOffload    bool // see Network.NoOffload
}

// Addresses of the two experiments that the built-in topologies repeat.
const (
	vip       = "172.16.253.63"
	clientIP  = "172.16.253.36"
	outsideIP = "172.16.253.62" // the director's when the VIP is not on its interface
	dip       = "192.168.166.130"
	insideGW  = "192.168.166.100"
	localIP   = "192.168.166.200" // FULLNAT's local address
	farClient = "100.0.0.6"
	farGW     = "100.0.0.100"
	clusterGW = "172.16.253.36" // the gateway's leg in the VIP's network, where a far client stands behind it
)

// builders are the built-in topologies by name.
var builders = map[string]func(Options) Topology{
	"nat":        natTopology,
	"dr":         drTopology,
	"tun":        tunTopology,
	"fullnat":    fullnatTopology,
	"dr-gateway": gatewayTopology,
}

// Names returns the names of the built-in topologies in order. A 6 behind a name
// means the same over IPv6.
func Names() []string {
	names := make([]string, 0, len(builders))
	for n := range builders {
		names = append(names, n)
	}
	names = withSix(names)
	sort.Strings(names)
	return names
}

// Build returns a built-in topology by one of Names.
func Build(name string, o Options) (Topology, error) {
	plain, six := strings.CutSuffix(name, "6")
	b, ok := builders[plain]
	if !ok || !slices.Contains(Names(), name) {
		return Topology{}, fmt.Errorf("lab: no topology %q, there are %s", name, strings.Join(Names(), ", "))
	}
	if o.RealServers == 0 {
		o.RealServers = 2
	}
	if o.RealServers < 1 || o.RealServers > 100 {
		return Topology{}, fmt.Errorf("lab: %d real servers: it can be 1 to 100", o.RealServers)
	}
	if six && o.MTU != 0 && o.MTU < 1280 {
		return Topology{}, fmt.Errorf("lab: MTU %d: IPv6 needs 1280 (RFC 8200 section 5)", o.MTU)
	}
	t := b(o)
	t.Name, t.VIP = name, netip.MustParseAddr(vip)
	if six {
		t.six()
	}
	for i := range t.Networks {
		t.Networks[i].MTU, t.Networks[i].NoOffload = o.MTU, o.NoOffload
	}
	if o.NoOffload {
		t.director().withoutGRO()
	}
	if o.Bare {
		// ip_forward is the student's to set, too.
		t.Bare, t.director().Forward = true, false
	}
	return t, nil
}

// director returns the node that is one.
func (t *Topology) director() *Node {
	i := slices.IndexFunc(t.Nodes, func(n Node) bool { return n.Role == Director })
	return &t.Nodes[i]
}

// natTopology is experiment 1: the director stands between two networks and
// is the real servers' gateway.
//
//	client ──172.16.0.0/16── director ──192.168.166.0/24── rs1, rs2, …
func natTopology(o Options) Topology {
	servers := realServers(o, "inside", "192.168.166.", 24, dip)
	d := director(on("outside", o.vipAddress(16)), on("inside", addr(dip, 24)))
	d.Forward = true
	d.Setup = ipvs("rr", servers, "-m")
	return Topology{
		Title:    "experiment 1: the director translates addresses both ways (ipvsadm -m)",
		Networks: []Network{{Name: "outside"}, {Name: "inside"}},
		Nodes:    append([]Node{client(on("outside", addr(clientIP, 16)), ""), d}, servers...),
	}
}

// drTopology has everyone on one segment: the director changes only MAC
// addresses, the real servers hold the VIP silently and answer the client
// themselves.
//
//	client, director, rs1, rs2, … ──172.16.0.0/16
func drTopology(o Options) Topology {
	servers := realServers(o, "lan", "172.16.253.", 16, "")
	holdVIP(servers)
	d := director(on("lan", o.aliasVIP(addr("172.16.253.130", 16), 32)...))
	d.Setup = ipvs("rr", servers, "-g")
	return Topology{
		Title:    "the director changes only MAC addresses, answers go straight back (ipvsadm -g)",
		Networks: []Network{{Name: "lan"}},
		Nodes:    append([]Node{client(on("lan", addr(clientIP, 16)), ""), d}, servers...),
	}
}

// gatewayTopology is experiment 2: direct routing with a gateway between
// client and cluster, which has two addresses on the inside: one is the
// director's gateway, the other the real servers'.
//
//	client ──100.0.0.0/24── gateway ──172.16.0.0/16 + 192.168.166.0/24── director, rs1, rs2, …
func gatewayTopology(o Options) Topology {
	servers := realServers(o, "inside", "192.168.166.", 24, insideGW)
	holdVIP(servers)
	d := director(on("inside", o.aliasVIP(addr(dip, 24), 16)...))
	if o.VIPElsewhere {
		d.Interfaces[0].Addresses = append(d.Interfaces[0].Addresses, addr(outsideIP, 16))
	}
	d.Gateway = netip.MustParseAddr(clusterGW)
	d.Setup = ipvs("wrr", servers, "-g", "2", "6")
	gw := router(on("outside", addr(farGW, 24)), on("inside", addr(clusterGW, 16), addr(insideGW, 24)))
	return Topology{
		Title:    "experiment 2: direct routing, with a gateway between client and cluster (ipvsadm -g)",
		Networks: []Network{{Name: "outside"}, {Name: "inside"}},
		Nodes:    append([]Node{client(on("outside", addr(farClient, 24)), farGW), gw, d}, servers...),
	}
}

// tunTopology puts client, director and real servers into three networks
// that only the gateway joins: the director's packets reach the real servers
// inside a tunnel, the answers go straight to the client.
//
//	client ──100.0.0.0/24── gateway ──172.16.0.0/16── director
//	                           └──192.168.166.0/24── rs1, rs2, …
func tunTopology(o Options) Topology {
	servers := realServers(o, "far", "192.168.166.", 24, insideGW)
	holdVIP(servers)
	for i := range servers {
		servers[i].Services = append(servers[i].Services, Service{
			Name: "decap", Command: Command{"uvs", "decap"}, Ready: "unix:@uvs-decap", Setup: true})
	}
	d := director(on("middle", o.aliasVIP(addr("172.16.253.130", 16), 32)...))
	d.Gateway = netip.MustParseAddr(clusterGW)
	d.Setup = ipvs("rr", servers, "-i")
	gw := router(on("outside", addr(farGW, 24)), on("middle", addr(clusterGW, 16)), on("far", addr(insideGW, 24)))
	return Topology{
		Title:    "real servers far away, reached by an IP-in-IP tunnel (ipvsadm -i)",
		Networks: []Network{{Name: "outside"}, {Name: "middle"}, {Name: "far"}},
		Nodes:    append([]Node{client(on("outside", addr(farClient, 24)), farGW), gw, d}, servers...),
	}
}

// fullnatTopology has real servers whose gateway knows neither the client
// nor the VIP: they see a local address of the director as their client.
//
//	client ──172.16.0.0/16── director ──192.168.166.0/24── gateway ──10.0.0.0/24── rs1, rs2, …
func fullnatTopology(o Options) Topology {
	servers := realServers(o, "far", "10.0.0.", 24, "10.0.0.1")
	d := director(on("outside", o.vipAddress(16)), on("inside", addr(dip, 24)))
	d.Gateway = netip.MustParseAddr(insideGW)
	d.Setup = ipvs("rr", servers, "--fullnat")
	gw := router(on("inside", addr(insideGW, 24)), on("far", addr("10.0.0.1", 24)))
	return Topology{
		Title:    "both addresses translated, real servers anywhere (ipvsadm --fullnat)",
		Networks: []Network{{Name: "outside"}, {Name: "inside"}, {Name: "far"}},
		Nodes:    append([]Node{client(on("outside", addr(clientIP, 16)), ""), d, gw}, servers...),
	}
}

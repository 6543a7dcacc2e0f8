package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
)

// Options vary the built-in topologies.
type Options struct {
	RealServers int  // 2 if 0, in mixed 3; at most 100
	Bare        bool // the virtual server is not configured: the user types the commands
	// VIPElsewhere removes the VIP from the director's interface, so that only the
	// director's own ARP answers for it. The interface then has another address of the
	// same network.
	VIPElsewhere bool
	MTU          int  // of every network in bytes, 1500 if 0
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
	clusterGW = "172.16.253.36" // the gateway's address in the VIP's network, if the client is beyond it
)

// builders are the built-in topologies by name.
var builders = map[string]func(Options) Topology{
	"nat":        natTopology,
	"dr":         drTopology,
	"tun":        tunTopology,
	"fullnat":    fullnatTopology,
	"dr-gateway": gatewayTopology,
	"mixed":      mixedTopology,
	"two-vips":   twoVIPsTopology,
	"cache-farm": cacheFarmTopology,
}

// Names returns the names of the built-in topologies in order. A 6 at the end of a name
// means the same over IPv6.
func Names() []string {
	names := make([]string, 0, len(builders))
	for n := range builders {
		names = append(names, n)
	}
	names = withIPv6(names)
	sort.Strings(names)
	return names
}

// Build returns a built-in topology by one of Names.
func Build(name string, o Options) (Topology, error) {
	plain, six := strings.CutSuffix(name, "6")
	base, paired := pairs[plain]
	if !paired {
		base = plain
	}
	b, ok := builders[base]
	if !ok || !paired && !slices.Contains(Names(), name) {
		return Topology{}, fmt.Errorf("lab: no topology %q, there are %s", name, strings.Join(append(Names(), PairNames()...), ", "))
	}
	if paired && o.Bare {
		return Topology{}, fmt.Errorf("lab: %s is made of what keepalived does: it cannot be bare", name)
	}
	o.VIPElsewhere = o.VIPElsewhere || paired // keepalived gives it
	if o.RealServers == 0 {
		o.RealServers = 2
		if base == "mixed" {
			o.RealServers = len(mixedMethods)
		}
	}
	if o.RealServers < 1 || o.RealServers > 100 {
		return Topology{}, fmt.Errorf("lab: %d real servers: it can be 1 to 100", o.RealServers)
	}
	if six && o.MTU != 0 && o.MTU < 1280 {
		return Topology{}, fmt.Errorf("lab: MTU %d: IPv6 needs 1280 (RFC 8200 section 5)", o.MTU)
	}
	t := b(o)
	t.Name = name
	if !t.VIP.IsValid() {
		t.VIP = netip.MustParseAddr(vip)
	}
	if six {
		t.toIPv6()
	}
	checks := t.promises()
	if paired {
		t.pair(base)
		checks = t.promisesOfPair(checks)
	}
	t.Checks = checks
	t.Vary(o)
	return t, nil
}

// Vary applies the options that any topology can have: MTU, NoOffload and Bare.
func (t *Topology) Vary(o Options) {
	for i := range t.Networks {
		n := &t.Networks[i]
		n.NoOffload = n.NoOffload || o.NoOffload
		switch {
		case o.MTU != 0:
			n.MTU = o.MTU
		case n.MTU == 0:
			n.MTU = usualMTU
		}
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.Role != Director {
			continue
		}
		if o.NoOffload {
			n.WithoutGRO()
		}
		if o.Bare {
			n.Forward = false // the user sets ip_forward, too
		}
	}
	t.Bare = t.Bare || o.Bare
}

// usualMTU is that of Ethernet, in bytes.
const usualMTU = 1500

// natTopology is experiment 1: the director connects two networks and is the real
// servers' gateway.
//
//	client ──172.16.0.0/16── director ──192.168.166.0/24── rs1, rs2, …
func natTopology(o Options) Topology {
	servers := realServers(o, "inside", "192.168.166.", 24, dip)
	d := director(iface("outside", o.vipAddress(16)), iface("inside", addr(dip, 24)))
	d.Forward = true
	d.Setup = ipvsadmSetup("rr", servers, "-m")
	return Topology{
		Title:    "experiment 1: the director translates addresses both ways (ipvsadm -m)",
		Networks: []Network{{Name: "outside"}, {Name: "inside"}},
		Nodes:    append([]Node{client(iface("outside", addr(clientIP, 16)), ""), d}, servers...),
	}
}

// drTopology has all nodes on one segment: the director changes only MAC addresses; the
// real servers have the VIP, do not answer ARP for it, and reply to the client directly.
//
//	client, director, rs1, rs2, … ──172.16.0.0/16
func drTopology(o Options) Topology {
	servers := realServers(o, "lan", "172.16.253.", 16, "")
	vipOnLoopback(servers, vip)
	d := director(iface("lan", o.aliasVIP(addr("172.16.253.130", 16), 32)...))
	d.Setup = ipvsadmSetup("rr", servers, "-g")
	return Topology{
		Title:    "the director changes only MAC addresses, answers go straight back (ipvsadm -g)",
		Networks: []Network{{Name: "lan"}},
		Nodes:    append([]Node{client(iface("lan", addr(clientIP, 16)), ""), d}, servers...),
	}
}

// gatewayTopology is experiment 2: direct routing with a gateway between client and
// cluster. The gateway has two inside addresses: one is the director's gateway, the other
// the real servers'.
//
//	client ──100.0.0.0/24── gateway ──172.16.0.0/16 + 192.168.166.0/24── director, rs1, rs2, …
func gatewayTopology(o Options) Topology {
	servers := realServers(o, "inside", "192.168.166.", 24, insideGW)
	vipOnLoopback(servers, vip)
	d := director(iface("inside", o.aliasVIP(addr(dip, 24), 16)...))
	if o.VIPElsewhere {
		d.Interfaces[0].Addresses = append(d.Interfaces[0].Addresses, addr(outsideIP, 16))
	}
	d.Gateway = netip.MustParseAddr(clusterGW)
	d.Setup = ipvsadmSetup("wrr", servers, "-g", "2", "6")
	gw := router(iface("outside", addr(farGW, 24)), iface("inside", addr(clusterGW, 16), addr(insideGW, 24)))
	return Topology{
		Title:    "experiment 2: direct routing, with a gateway between client and cluster (ipvsadm -g)",
		Networks: []Network{{Name: "outside"}, {Name: "inside"}},
		Nodes:    append([]Node{client(iface("outside", addr(farClient, 24)), farGW), gw, d}, servers...),
	}
}

// tunTopology has client, director and real servers in three networks joined by a
// gateway: the director's packets reach the real servers in a tunnel, and replies go
// straight to the client.
//
//	client ──100.0.0.0/24── gateway ──172.16.0.0/16── director
//	                           └──192.168.166.0/24── rs1, rs2, …
func tunTopology(o Options) Topology {
	servers := realServers(o, "far", "192.168.166.", 24, insideGW)
	vipOnLoopback(servers, vip)
	for i := range servers {
		servers[i].Services = append(servers[i].Services, DecapService())
	}
	d := director(iface("middle", o.aliasVIP(addr("172.16.253.130", 16), 32)...))
	d.Gateway = netip.MustParseAddr(clusterGW)
	d.Setup = ipvsadmSetup("rr", servers, "-i")
	gw := router(iface("outside", addr(farGW, 24)), iface("middle", addr(clusterGW, 16)), iface("far", addr(insideGW, 24)))
	return Topology{
		Title:    "real servers far away, reached by an IP-in-IP tunnel (ipvsadm -i)",
		Networks: []Network{{Name: "outside"}, {Name: "middle"}, {Name: "far"}},
		Nodes:    append([]Node{client(iface("outside", addr(farClient, 24)), farGW), gw, d}, servers...),
	}
}

// fullnatTopology has real servers whose gateway has no route to the client or the VIP:
// they see a local address of the director as their client.
//
//	client ──172.16.0.0/16── director ──192.168.166.0/24── gateway ──10.0.0.0/24── rs1, rs2, …
func fullnatTopology(o Options) Topology {
	servers := realServers(o, "far", "10.0.0.", 24, "10.0.0.1")
	d := director(iface("outside", o.vipAddress(16)), iface("inside", addr(dip, 24)))
	d.Gateway = netip.MustParseAddr(insideGW)
	d.Setup = ipvsadmSetup("rr", servers, "--fullnat")
	gw := router(iface("inside", addr(insideGW, 24)), iface("far", addr("10.0.0.1", 24)))
	return Topology{
		Title:    "both addresses translated, real servers anywhere (ipvsadm --fullnat)",
		Networks: []Network{{Name: "outside"}, {Name: "inside"}, {Name: "far"}},
		Nodes:    append([]Node{client(iface("outside", addr(clientIP, 16)), ""), d, gw}, servers...),
	}
}

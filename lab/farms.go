package lab

import (
	"net/netip"
	"strconv"
)

// Addresses of the topologies with more than one kind of server or service.
const (
	secondVIP = "172.16.253.64"
	farIP     = "10.0.0.1"       // the gateway's, where the servers by a tunnel are
	webIP     = "172.16.253.100" // of what stands for the Internet
	sites     = "203.0.113."     // the web sites that the caches keep pages of (RFC 5737)
	siteCount = 4
)

// mixedMethods are the forwarding methods of the real servers of mixed, in turn.
var mixedMethods = []string{"-m", "-g", "-i"}

// mixedTopology has servers by every method of IPVS in one service: each is where its method
// needs it to be.
//
//	client ──100.0.0.0/24── gateway ──172.16.0.0/16── director, rs2 by -g
//	                           │                         └──192.168.166.0/24── rs1 by -m
//	                           └──10.0.0.0/24── rs3 by -i
func mixedTopology(o Options) Topology {
	d := director(iface("lan", o.aliasVIP(addr("172.16.253.130", 16), 32)...), iface("inside", addr(dip, 24)))
	d.Gateway, d.Forward = netip.MustParseAddr(clusterGW), true
	d.Setup = []Command{{"ipvsadm", "-A", "-t", vip + ":80", "-s", "rr"}}
	var servers []Node
	for i := range o.RealServers {
		method := mixedMethods[i%len(mixedMethods)]
		var n Node
		switch method {
		case "-m":
			n = realServer(i, "inside", "192.168.166.", 24, dip)
		case "-g":
			n = realServer(i, "lan", "172.16.253.", 16, clusterGW)
		case "-i":
			n = realServer(i, "far", "10.0.0.", 24, farIP)
			n.Services = append(n.Services, DecapService())
		}
		if method != "-m" {
			n.Setup = DirectSetup(netip.MustParseAddr(vip))
		}
		d.Setup = append(d.Setup, serverSetup("-t", vip+":80", &n, method, ""))
		servers = append(servers, n)
	}
	gw := router(iface("outside", addr(farGW, 24)), iface("lan", addr(clusterGW, 16)), iface("far", addr(farIP, 24)))
	return Topology{
		Title:    "servers by address translation, direct routing and a tunnel in one service (ipvsadm -m, -g, -i)",
		Networks: []Network{{Name: "outside"}, {Name: "lan"}, {Name: "inside"}, {Name: "far"}},
		Nodes:    append([]Node{client(iface("outside", addr(farClient, 24)), farGW), gw, d}, servers...),
	}
}

// twoVIPsTopology has two services at addresses of their own, with the same real servers:
// one takes them in turn, the other keeps each client with one.
//
//	client, director, rs1, rs2, … ──172.16.0.0/16
func twoVIPsTopology(o Options) Topology {
	servers := realServers(o, "lan", "172.16.253.", 16, "")
	vipOnLoopback(servers, vip, secondVIP)
	addresses := o.aliasVIP(addr("172.16.253.130", 16), 32)
	if !o.VIPElsewhere {
		addresses = append(addresses, Address{Prefix: addr(secondVIP, 32).Prefix, Label: "eth0:2"})
	}
	d := director(iface("lan", addresses...))
	schedulers := []string{"rr", "sh"}
	services := []string{vip + ":80", secondVIP + ":80"}
	for i, s := range services {
		d.Setup = append(d.Setup, Command{"ipvsadm", "-A", "-t", s, "-s", schedulers[i]})
	}
	for _, s := range services {
		for i := range servers {
			d.Setup = append(d.Setup, serverSetup("-t", s, &servers[i], "-g", ""))
		}
	}
	return Topology{
		Title:    "two virtual addresses, one by turns (rr), one by the client's address (sh), on the same servers (ipvsadm -g)",
		MoreVIPs: []netip.Addr{netip.MustParseAddr(secondVIP)},
		Networks: []Network{{Name: "lan"}},
		Nodes:    append([]Node{client(iface("lan", addr(clientIP, 16)), ""), d}, servers...),
	}
}

// cacheFarmTopology has transparent caches: the director is the client's gateway, gives what
// goes to port 80 of any address a mark, and sends each web site to a cache of its own. What
// has no mark it routes to the Internet, which the node web stands for.
//
//	client, director, rs1, rs2, …, web ──172.16.0.0/16
func cacheFarmTopology(o Options) Topology {
	servers := realServers(o, "lan", "172.16.253.", 16, "")
	d := director(iface("lan", addr("172.16.253.130", 16)))
	d.Forward = true
	d.Routes = []Route{{To: netip.MustParsePrefix(sites + "0/24"), Via: netip.MustParseAddr(webIP)}}
	d.Setup = []Command{
		{"uvs", "mark", "-A", "-s", "172.16.0.0/16", "-p", "tcp", "--dport", "80", "--set-mark", "1"},
		{"ipvsadm", "-A", "-f", "1", "-s", "lblcr"},
	}
	for i := range servers {
		servers[i].Setup = []Command{silent(), {"ip", "route", "add", "local", sites + "0/24", "dev", "lo"}}
		d.Setup = append(d.Setup, serverSetup("-f", "1", &servers[i], "-g", ""))
	}
	web := Node{Name: "web", Role: Host, Interfaces: []Interface{iface("lan", addr(webIP, 16))}, Services: []Service{WebService("Internet")}}
	var vips []netip.Addr
	for i := range siteCount {
		site := addr(sites+strconv.Itoa(i+1), 32)
		vips = append(vips, site.Prefix.Addr())
		web.Interfaces[0].Addresses = append(web.Interfaces[0].Addresses, site)
	}
	return Topology{
		Title:    "transparent caches: each web site has its cache, chosen by lblcr among packets with a mark (ipvsadm -f)",
		VIP:      vips[0],
		MoreVIPs: vips[1:],
		Networks: []Network{{Name: "lan"}},
		Nodes:    append(append([]Node{client(iface("lan", addr(clientIP, 16)), "172.16.253.130"), d}, servers...), web),
	}
}

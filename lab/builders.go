package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
)

// addr returns an address with its prefix length.
func addr(ip string, bits int) Address {
	return Address{Prefix: netip.PrefixFrom(netip.MustParseAddr(ip), bits)}
}

// iface returns an interface on a network.
func iface(network string, addresses ...Address) Interface {
	return Interface{Network: network, Addresses: addresses}
}

// vipAddress is the address of the director's outer interface.
func (o Options) vipAddress(bits int) Address {
	if o.VIPElsewhere {
		return addr(outsideIP, bits)
	}
	return addr(vip, bits)
}

// aliasVIP adds the VIP as eth0:1 beside the director's own address.
func (o Options) aliasVIP(own Address, bits int) []Address {
	if o.VIPElsewhere {
		return []Address{own}
	}
	alias := addr(vip, bits)
	alias.Label = "eth0:1"
	return []Address{own, alias}
}

func client(i Interface, gateway string) Node {
	n := Node{Name: "client", Role: Client, Interfaces: []Interface{i}}
	if gateway != "" {
		n.Gateway = netip.MustParseAddr(gateway)
	}
	return n
}

func router(interfaces ...Interface) Node {
	return Node{Name: "gateway", Role: Router, Interfaces: interfaces, Forward: true}
}

func director(interfaces ...Interface) Node {
	return Node{Name: "director", Role: Director, Interfaces: interfaces, Services: []Service{DirectorService()}}
}

// WithoutGRO keeps the director from merging segments in a lab without offloads.
func (n *Node) WithoutGRO() {
	for i := range n.Services {
		if s := &n.Services[i]; s.Name == "director" && !slices.Contains(s.Command, "--gro") {
			s.Command = append(slices.Clip(s.Command), "--gro", "off")
		}
	}
}

// realServers returns web servers at .129, .131, .132, … of a network: .130
// is the director's in the experiments.
func realServers(o Options, network, prefix string, bits int, gateway string) []Node {
	nodes := make([]Node, o.RealServers)
	for i := range nodes {
		nodes[i] = realServer(i, network, prefix, bits, gateway)
	}
	return nodes
}

// realServer returns the web server with an index.
func realServer(i int, network, prefix string, bits int, gateway string) Node {
	host := 129
	if i > 0 {
		host = 130 + i
	}
	n := webServer(i+1, iface(network, addr(prefix+strconv.Itoa(host), bits)))
	if gateway != "" {
		n.Gateway = netip.MustParseAddr(gateway)
	}
	return n
}

func webServer(number int, i Interface) Node {
	return Node{
		Name: fmt.Sprintf("rs%d", number), Role: Real,
		Interfaces: []Interface{i},
		Services:   []Service{WebService(fmt.Sprintf("Web%d", number))},
	}
}

// WebService is the web server of a real server, whose page is a text.
func WebService(text string) Service {
	return Service{Name: "http", Ready: "tcp:80",
		Command: Command{"uvs", "http", "--text", text, "--dns", ":53", "--echo", ":7"}}
}

// DirectorService is the director of a node.
func DirectorService() Service {
	return Service{Name: "director", Command: Command{"uvs", "director", "--keep"}, Ready: "unix:@uvs"}
}

// DecapService takes packets out of the tunnel on a real server.
func DecapService() Service {
	return Service{Name: "decap", Command: Command{"uvs", "decap"}, Ready: "unix:@uvs-decap", Setup: true}
}

// silent keeps a host from answering ARP for what is on its lo, with the commands of
// experiment 2.
func silent() Command {
	return Command{"sysctl", "-qw",
		"net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.lo.arp_ignore=1",
		"net.ipv4.conf.all.arp_announce=2", "net.ipv4.conf.lo.arp_announce=2"}
}

// DirectSetup puts virtual addresses on the lo of a real server that gets packets for them
// as they are, and keeps it from answering ARP for them: over IPv6 no host answers for what
// is on its lo (RFC 4861 section 7.2.3).
func DirectSetup(vips ...netip.Addr) []Command {
	var all []Command
	if slices.ContainsFunc(vips, netip.Addr.Is4) {
		all = append(all, silent())
	}
	for _, vip := range vips {
		all = append(all, Command{"ip", "addr", "add", single(vip), "dev", "lo"})
	}
	return all
}

// vipOnLoopback makes web servers real servers by direct routing or a tunnel.
func vipOnLoopback(servers []Node, vips ...string) {
	var all []netip.Addr
	for _, vip := range vips {
		all = append(all, netip.MustParseAddr(vip))
	}
	for i := range servers {
		servers[i].Setup = append(servers[i].Setup, DirectSetup(all...)...)
	}
}

// ipvsadmSetup returns the ipvsadm commands that configure the director.
func ipvsadmSetup(scheduler string, servers []Node, method string, weights ...string) []Command {
	cs := []Command{{"ipvsadm", "-A", "-t", vip + ":80", "-s", scheduler}}
	if method == "--fullnat" {
		cs = append(cs, Command{"ipvsadm", "--add-laddr", "-t", vip + ":80", "--laddr", localIP})
	}
	for i := range servers {
		weight := ""
		if len(weights) > 0 {
			weight = weights[i%len(weights)]
		}
		cs = append(cs, serverSetup("-t", vip+":80", &servers[i], method, weight))
	}
	return cs
}

// serverSetup returns the command that adds a real server to a service.
func serverSetup(kind, service string, n *Node, method, weight string) Command {
	c := Command{"ipvsadm", "-a", kind, service, "-r", n.Address().String(), method}
	if weight != "" {
		c = append(c, "-w", weight)
	}
	return c
}

package lab

import (
	"fmt"
	"net/netip"
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
	return Node{Name: "director", Role: Director, Interfaces: interfaces, Services: []Service{
		{Name: "director", Command: Command{"uvs", "director", "--keep"}, Ready: "unix:@uvs"},
	}}
}

// withoutGRO keeps the director from merging segments in a lab without offloads.
func (n *Node) withoutGRO() {
	for i := range n.Services {
		if s := &n.Services[i]; s.Name == "director" {
			s.Command = append(s.Command, "--gro", "off")
		}
	}
}

// realServers returns web servers at .129, .131, .132, … of a network: .130
// is the director's in the experiments.
func realServers(o Options, network, prefix string, bits int, gateway string) []Node {
	nodes := make([]Node, o.RealServers)
	for i := range nodes {
		host := 129
		if i > 0 {
			host = 130 + i
		}
		nodes[i] = webServer(i+1, iface(network, addr(prefix+strconv.Itoa(host), bits)))
		if gateway != "" {
			nodes[i].Gateway = netip.MustParseAddr(gateway)
		}
	}
	return nodes
}

func webServer(number int, i Interface) Node {
	return Node{
		Name: fmt.Sprintf("rs%d", number), Role: Real,
		Interfaces: []Interface{i},
		Services: []Service{{
			Name: "http", Ready: "tcp:80",
			Command: Command{"uvs", "http", "--text", fmt.Sprintf("Web%d", number), "--dns", ":53", "--echo", ":7"},
		}},
	}
}

// vipOnLoopback puts the VIP on the real servers' lo and keeps them from answering ARP
// for it, with the commands of experiment 2. rp_filter is off, because packets from a
// tunnel arrive on a different interface than their replies leave by.
func vipOnLoopback(servers []Node) {
	for i := range servers {
		servers[i].Setup = append(servers[i].Setup,
			Command{"sysctl", "-qw",
				"net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.lo.arp_ignore=1",
				"net.ipv4.conf.all.arp_announce=2", "net.ipv4.conf.lo.arp_announce=2"},
			Command{"ip", "addr", "add", vip + "/32", "dev", "lo"})
	}
}

// ipvsadmSetup returns the ipvsadm commands that configure the director.
func ipvsadmSetup(scheduler string, servers []Node, method string, weights ...string) []Command {
	service := vip + ":80"
	cs := []Command{{"ipvsadm", "-A", "-t", service, "-s", scheduler}}
	if method == "--fullnat" {
		cs = append(cs, Command{"ipvsadm", "--add-laddr", "-t", service, "--laddr", localIP})
	}
	for i := range servers {
		c := Command{"ipvsadm", "-a", "-t", service, "-r", servers[i].Address().String(), method}
		if len(weights) > 0 {
			c = append(c, "-w", weights[i%len(weights)])
		}
		cs = append(cs, c)
	}
	return cs
}

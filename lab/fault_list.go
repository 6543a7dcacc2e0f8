package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Faults are all that can be inserted, in the order of their codes.
var Faults = []Fault{
	{"LVS001", "no-return", []string{"gateway"}, hasGateway, wrongGateway},
	{"LVS002", "same-subnet", nil, masquerades, sameSubnet},
	{"LVS003", "rp-filter", []string{"rp_filter"}, all(tunnels, overIPv4), func(b *breaker) error {
		return b.each(b.server.Name, Command{"sysctl", "-w", "net.ipv4.conf.all.rp_filter=1"})
	}},
	{"LVS004", "arp-conflict", []string{"arp"}, all(oneNetwork, overIPv4), answersARP},
	{"LVS005", "mask", nil, direct, wideMask},
	{"LVS006", "port-map", nil, direct, mappedPort},
	{"LVS007", "neighbour", []string{"neighbor"}, configured, func(b *breaker) error {
		return b.each(b.director.Name, b.addServer("-t", b.service(), unused(b.server.Address())))
	}},
	{"LVS008", "listen", nil, direct, func(b *breaker) error {
		return b.swap(b.server, "http", "--listen", netip.AddrPortFrom(b.server.Address(), 80).String())
	}},
	{"LVS009", "no-decap", []string{"decap"}, tunnels, func(b *breaker) error { return b.swap(b.server, "decap") }},
	{"LVS010", "mtu", nil, always, func(b *breaker) error {
		return b.each(b.server.Name, Command{"ip", "link", "set", "eth0", "mtu", "1400"})
	}},
	{"LVS011", "self-client", []string{"self"}, all(direct, vipOnDirector), selfClient},
	{"LVS012", "persistence", []string{"persistent"}, configured, func(b *breaker) error {
		return b.each(b.director.Name, Command{"ipvsadm", "-E", "-t", b.service(), "-s", b.Topology.scheduler(), "-p", "300"})
	}},
	{"LVS013", "firewall", nil, always, filtered},
	{"LVS014", "inactive-grows", []string{"timeouts"}, always, func(b *breaker) error {
		return b.each(b.director.Name, Command{"ipvsadm", "--set", "0", "7200", "0"})
	}},
	{"LVS015", "conntrack", nil, direct, func(b *breaker) error {
		return b.filter(b.director, b.toVIP()+" tcp dport 80 ct state new,established accept")
	}},
	{"LVS016", "synproxy", nil, direct, func(b *breaker) error {
		return b.filter(b.director, b.toVIP()+" tcp dport 80 tcp flags syn synproxy mss 1460 wscale 7 timestamp sack-perm")
	}},
	{"LVS017", "rules-lost", nil, configured, func(b *breaker) error { return b.each(b.director.Name, Command{"ipvsadm", "-C"}) }},
	{"LVS018", "local-address", []string{"laddr"}, needsLocal, foreignLocal},
	{"LVS019", "kernel-rst", nil, vipOnDirector, kernelAnswers},
	{"LVS020", "double-forward", nil, masquerades, doubleForward},

	{"LVS021", "vip-missing", []string{"vip"}, direct, func(b *breaker) error {
		return b.each(b.server.Name, b.ip("addr", "del", single(b.vip), "dev", "lo"))
	}},
	{"LVS022", "no-listener", []string{"server-down"}, always, func(b *breaker) error { return b.swap(b.server, "http") }},
	{"LVS023", "no-server", []string{"weight"}, configured, quiesced},
	{"LVS024", "vip-taken", nil, all(direct, routed), func(b *breaker) error {
		return b.each(b.Topology.router().Name, b.ip("addr", "add", single(b.vip), "dev", "lo"))
	}},
	{"LVS025", "link-down", []string{"link"}, always, func(b *breaker) error {
		return b.each(b.server.Name, Command{"ip", "link", "set", "eth0", "down"})
	}},
	{"LVS026", "no-forwarding", []string{"ip_forward"}, routed, func(b *breaker) error {
		return b.each(b.Topology.router().Name, Command{"sysctl", "-w", b.forwarding() + "=0"})
	}},
	{"LVS027", "firewall-unseen", nil, always, func(b *breaker) error {
		return b.filter(b.director, b.toVIP()+" tcp dport 80 drop")
	}},
	{"LVS028", "drop-rate", nil, always, func(b *breaker) error {
		return b.each(b.director.Name, Command{"uvs", "sysctl", "-w", "net.ipv4.vs.drop_packet=3"})
	}},
	{"LVS029", "mark-unset", []string{"mark"}, configured, markUnset},
	{"LVS030", "no-director", nil, always, func(b *breaker) error { return b.swap(b.director, "director") }},
	{"LVS032", "left-out", []string{"interface"}, func(t *Topology) bool { return len(t.director().Interfaces) > 1 },
		func(b *breaker) error { return b.swap(b.director, "director", "-i", "eth0") }},
	{"LVS036", "two-directors", []string{"second-director"}, always, secondDirector},
}

// Conditions for faults.

func always(*Topology) bool { return true }

// configured reports whether the lab's plan has the director's commands; where something else
// configures it, that would undo the fault.
func configured(t *Topology) bool { return len(t.director().Setup) > 0 }

func all(conditions ...func(*Topology) bool) func(*Topology) bool {
	return func(t *Topology) bool {
		return !slices.ContainsFunc(conditions, func(c func(*Topology) bool) bool { return !c(t) })
	}
}

func overIPv4(t *Topology) bool    { return t.VIP.Is4() }
func masquerades(t *Topology) bool { return t.method() == "-m" }
func tunnels(t *Topology) bool     { return t.method() == "-i" }
func direct(t *Topology) bool      { return t.method() == "-g" || t.method() == "-i" }
func needsLocal(t *Topology) bool  { return t.method() == "--fullnat" }
func routed(t *Topology) bool      { return t.router() != nil }
func hasGateway(t *Topology) bool  { return t.RealServers()[0].Gateway.IsValid() }

// oneNetwork reports whether the real servers are on the network of the VIP.
func oneNetwork(t *Topology) bool { return t.method() == "-g" }

func vipOnDirector(t *Topology) bool {
	return slices.ContainsFunc(t.director().Interfaces, func(i Interface) bool {
		return slices.ContainsFunc(i.Addresses, func(a Address) bool { return a.Prefix.Addr() == t.VIP })
	})
}

func (t *Topology) router() *Node {
	for i := range t.Nodes {
		if t.Nodes[i].Role == Router {
			return &t.Nodes[i]
		}
	}
	return nil
}

// scheduler returns the one of the lab's service.
func (t *Topology) scheduler() string {
	for _, c := range t.director().Setup {
		if len(c) > 5 && c[1] == "-A" {
			return c[5]
		}
	}
	return "rr"
}

func single(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// How faults that take more than a command are inserted.

func wrongGateway(b *breaker) error {
	wrong := unused(b.server.Address()).String()
	if b.random.IntN(2) == 1 {
		return b.each(b.server.Name, b.ip("route", "add", b.repliesTo().String(), "via", wrong))
	}
	return b.each(b.server.Name, b.ip("route", "replace", "default", "via", wrong))
}

// repliesTo is the network to which servers send replies.
func (b *breaker) repliesTo() netip.Prefix {
	n := b.Topology.Node("client")
	if needsLocal(&b.Topology) {
		n = b.director
	}
	return n.Interfaces[len(n.Interfaces)-1].Addresses[0].Prefix.Masked()
}

func sameSubnet(b *breaker) error {
	p := b.Topology.Node("client").Interfaces[0].Addresses[0].Prefix
	return b.each(b.server.Name, b.addAddress(netip.PrefixFrom(unused(p.Addr()), p.Bits()), "eth0"))
}

func answersARP(b *breaker) error {
	words := []string{"net.ipv4.conf.all.arp_ignore=0", "net.ipv4.conf.all.arp_announce=0"} // on lo only
	if b.random.IntN(2) == 1 {
		words = append(words, "net.ipv4.conf.lo.arp_ignore=0", "net.ipv4.conf.lo.arp_announce=0")
	}
	return b.each(b.server.Name, append(Command{"sysctl", "-w"}, words...))
}

func wideMask(b *breaker) error {
	wide := netip.PrefixFrom(b.vip, 24)
	if b.vip.Is6() {
		wide = netip.PrefixFrom(b.vip, 64)
	}
	return b.each(b.server.Name, b.ip("addr", "del", single(b.vip), "dev", "lo"), b.addAddress(wide, "lo"))
}

func mappedPort(b *breaker) error {
	at := netip.AddrPortFrom(b.vip, 8080).String()
	return b.each(b.director.Name, Command{"ipvsadm", "-A", "-t", at, "-s", "rr"}, b.addServer("-t", at, b.server.Address()))
}

// addServer returns the command that adds a real server's port 80.
func (b *breaker) addServer(kind, service string, a netip.Addr) Command {
	return Command{"ipvsadm", "-a", kind, service, "-r", netip.AddrPortFrom(a, 80).String(), b.Topology.method()}
}

func markUnset(b *breaker) error {
	add, server := Command{"ipvsadm", "-A", "-f", "7", "-s", "rr"}, b.addServer("-f", "7", b.server.Address())
	if b.vip.Is6() {
		add, server = append(add, "-6"), append(server, "-6")
	}
	return b.each(b.director.Name, add, server)
}

// selfClient has a program on the director ask the virtual service until it is killed.
func selfClient(b *breaker) error {
	err := b.each(b.director.Name, Command{"sh", "-c", "uvs get -m 5 -n 1000000 " + b.Topology.URL("/") + " >/dev/null 2>&1 </dev/null &"})
	if err != nil {
		return err
	}
	return await("a connection of the director to itself", func() (bool, error) {
		conns, err := b.Exec(b.director.Name, "ipvsadm", "-Lcn")
		return strings.Contains(conns, "SYN_RECV"), err
	})
}

// secondDirector starts another director beside the lab's, with the same service.
func secondDirector(b *breaker) error {
	const socket = "@uvs-second"
	err := b.each(b.director.Name, Command{"sh", "-c", "uvs director --share --state none --gro off --socket " + socket + " >/dev/null 2>&1 </dev/null &"})
	if err != nil {
		return err
	}
	add := Command{"env", "UVS_SOCKET=" + socket, "ipvsadm", "-A", "-t", b.service(), "-s", "rr"}
	return await("the second director", func() (bool, error) {
		_, err := b.Exec(b.director.Name, add...)
		return err == nil, nil
	})
}

// filtered drops or rejects the service's packets on a real server.
func filtered(b *breaker) error {
	verdict := "drop"
	if b.random.IntN(2) == 1 {
		verdict = "reject with icmpx admin-prohibited"
	}
	return b.filter(b.server, "tcp dport 80 "+verdict)
}

// filter adds a rule to the input chain of a node.
func (b *breaker) filter(n *Node, rule string) error {
	return b.each(n.Name, Command{"nft", "add table inet filter; " +
		"add chain inet filter input { type filter hook input priority 0; }; add rule inet filter input " + rule})
}

// toVIP returns nft's words for packets to the virtual address.
func (b *breaker) toVIP() string {
	if b.vip.Is6() {
		return "ip6 daddr " + b.vip.String()
	}
	return "ip daddr " + b.vip.String()
}

func foreignLocal(b *breaker) error {
	own, foreign := localIP, "198.51.100.7"
	if b.vip.Is6() {
		own, foreign = ipv6Networks{{192, 168}: 24}.addr(netip.MustParseAddr(localIP)).String(), "2001:db8::7"
	}
	return b.each(b.director.Name, Command{"ipvsadm", "--add-laddr", "-t", b.service(), "--laddr", foreign},
		Command{"ipvsadm", "--del-laddr", "-t", b.service(), "--laddr", own})
}

// forwarding is the name of the parameter that lets a kernel forward.
func (b *breaker) forwarding() string {
	if b.vip.Is6() {
		return "net.ipv6.conf.all.forwarding"
	}
	return "net.ipv4.ip_forward"
}

// kernelAnswers runs the director without its guard, and with the VIP on its interface. The
// kernel does not forward meanwhile: that would be another fault.
func kernelAnswers(b *breaker) error {
	if b.director.Forward {
		if err := b.each(b.director.Name, Command{"sysctl", "-w", b.forwarding() + "=0"}); err != nil {
			return err
		}
	}
	link, p := b.planned()
	held, err := b.holdsVIP()
	if err == nil && !held {
		err = b.each(b.director.Name, b.addAddress(p, link))
	}
	if err != nil {
		return err
	}
	return b.swap(b.director, "director", "--no-guard")
}

// planned is where the lab's plan has the VIP on the director.
func (b *breaker) planned() (link string, p netip.Prefix) {
	for i, iface := range b.director.Interfaces {
		for _, a := range iface.Addresses {
			if a.Prefix.Addr() == b.vip {
				return ethName(i), a.Prefix
			}
		}
	}
	return "", p
}

func (b *breaker) holdsVIP() (bool, error) {
	now, err := b.Exec(b.director.Name, "ip", "addr", "show")
	return strings.Contains(now, " "+b.vip.String()+"/"), err
}

// doubleForward runs the director without its guard, without the VIP on its interface: else
// the kernel would answer clients first.
func doubleForward(b *breaker) error {
	link, p := b.planned()
	held, err := b.holdsVIP()
	if err == nil && held {
		err = b.each(b.director.Name, b.ip("addr", "del", p.String(), "dev", link),
			b.addAddress(netip.PrefixFrom(unused(b.vip), p.Bits()), link))
	}
	if err != nil {
		return err
	}
	if err := b.each(b.director.Name, Command{"sysctl", "-w", b.forwarding() + "=1"}); err != nil {
		return err
	}
	return b.swap(b.director, "director", "--no-guard")
}

// quiesced gives every server the weight 0.
func quiesced(b *breaker) error {
	var commands []Command
	for _, n := range b.Topology.RealServers() {
		c := b.addServer("-t", b.service(), n.Address())
		c[1] = "-e"
		commands = append(commands, append(c, "-w", "0"))
	}
	return b.each(b.director.Name, commands...)
}

// String names the fault as messages do.
func (f *Fault) String() string { return fmt.Sprintf("%s %s", f.Code, f.Name) }

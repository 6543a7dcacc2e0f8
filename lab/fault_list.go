package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uvs/sched"
)

// Faults are all that can be inserted, in the order of their codes.
var Faults = []Fault{
	{"LVS001", "no-return", []string{"gateway"}, hasGateway, wrongGateway},
	{"LVS002", "same-subnet", nil, all(masquerades, hasClient), sameSubnet},
	{"LVS003", "rp-filter", []string{"rp_filter"}, all(tunnels, overIPv4), func(b *breaker) error {
		return b.each(b.server.Name, Command{"sysctl", "-w", "net.ipv4.conf.all.rp_filter=1"})
	}},
	{"LVS004", "arp-conflict", []string{"arp"}, all(oneNetwork, byAddress, overIPv4), answersARP},
	{"LVS005", "mask", nil, all(direct, byAddress), wideMask},
	{"LVS006", "port-map", nil, all(direct, byAddress), mappedPort},
	{"LVS007", "neighbour", []string{"neighbor"}, configured, func(b *breaker) error {
		return b.each(b.director.Name, b.addServer(b.virtual.words(), unused(b.server.Address())))
	}},
	{"LVS008", "listen", nil, all(direct, byAddress, runs("http")), func(b *breaker) error {
		return b.swap(b.server, "http", "--listen", netip.AddrPortFrom(b.server.Address(), 80).String())
	}},
	{"LVS009", "no-decap", []string{"decap"}, all(tunnels, runs("decap")), func(b *breaker) error { return b.swap(b.server, "decap") }},
	{"LVS010", "mtu", nil, always, func(b *breaker) error {
		return b.each(b.server.Name, Command{"ip", "link", "set", "eth0", "mtu", "1400"})
	}},
	{"LVS011", "self-client", []string{"self"}, all(direct, vipOnDirector), selfClient},
	{"LVS012", "persistence", []string{"persistent"}, configured, func(b *breaker) error {
		return b.each(b.director.Name, slices.Concat(Command{"ipvsadm", "-E"}, b.virtual.words(), Command{"-s", b.virtual.Scheduler, "-p", "300"}))
	}},
	{"LVS013", "firewall", nil, byAddress, filtered},
	{"LVS014", "inactive-grows", []string{"timeouts"}, always, func(b *breaker) error {
		return b.each(b.director.Name, Command{"ipvsadm", "--set", "0", "7200", "0"})
	}},
	{"LVS015", "conntrack", nil, all(direct, byAddress), func(b *breaker) error {
		return b.filter(b.director, b.toVIP()+" ct state new,established accept")
	}},
	{"LVS016", "synproxy", nil, all(direct, byAddress), func(b *breaker) error {
		return b.filter(b.director, b.toVIP()+" tcp flags syn synproxy mss 1460 wscale 7 timestamp sack-perm")
	}},
	{"LVS017", "rules-lost", nil, configured, func(b *breaker) error { return b.each(b.director.Name, Command{"ipvsadm", "-C"}) }},
	{"LVS018", "local-address", []string{"laddr"}, needsLocal, foreignLocal},
	{"LVS019", "kernel-rst", nil, all(vipOnDirector, runsDirector), kernelAnswers},
	{"LVS020", "double-forward", nil, all(masquerades, runsDirector), doubleForward},

	{"LVS021", "vip-missing", []string{"vip"}, all(direct, byAddress), func(b *breaker) error {
		return b.each(b.server.Name, b.ip("addr", "del", single(b.vip), "dev", "lo"))
	}},
	{"LVS022", "no-listener", []string{"server-down"}, all(byAddress, runs("http")), func(b *breaker) error { return b.swap(b.server, "http") }},
	{"LVS023", "no-server", []string{"weight"}, configured, quiesced},
	{"LVS024", "vip-taken", nil, all(direct, byAddress, routed), func(b *breaker) error {
		return b.each(b.Topology.router().Name, b.ip("addr", "add", single(b.vip), "dev", "lo"))
	}},
	{"LVS025", "link-down", []string{"link"}, always, func(b *breaker) error {
		return b.each(b.server.Name, Command{"ip", "link", "set", "eth0", "down"})
	}},
	{"LVS026", "no-forwarding", []string{"ip_forward"}, routed, func(b *breaker) error {
		return b.each(b.Topology.router().Name, Command{"sysctl", "-w", b.forwarding() + "=0"})
	}},
	{"LVS027", "firewall-unseen", nil, byAddress, func(b *breaker) error {
		return b.filter(b.director, b.toVIP()+" drop")
	}},
	{"LVS028", "drop-rate", nil, always, func(b *breaker) error {
		return b.each(b.director.Name, Command{"uvs", "sysctl", "-w", "net.ipv4.vs.drop_packet=3"})
	}},
	{"LVS029", "mark-unset", []string{"mark"}, configured, markUnset},
	{"LVS030", "no-director", nil, runsDirector, func(b *breaker) error { return b.swap(b.director, "director") }},
	{"LVS032", "left-out", []string{"interface"}, all(severalLinks, runsDirector),
		func(b *breaker) error { return b.swap(b.director, "director", "-i", "eth0") }},
	{"LVS036", "two-directors", []string{"second-director"}, byAddress, secondDirector},
}

// Conditions for faults.

func always(*place) bool { return true }

// configured reports whether the lab's plan has the director's commands; where something else
// configures it, that would undo the fault.
func configured(p *place) bool { return len(p.services) > 0 }

func all(conditions ...condition) condition {
	return func(p *place) bool {
		return !slices.ContainsFunc(conditions, func(c condition) bool { return !c(p) })
	}
}

// by is the condition that the real server is reached by a method.
func by(is func(sched.Method) bool) condition {
	return func(p *place) bool {
		m, known := p.methods[p.server.Name]
		return known && is(m)
	}
}

var (
	masquerades = by(sched.Method.Masquerades)
	tunnels     = by(sched.Method.Encapsulates)
	direct      = by(sched.Method.Direct)
	needsLocal  = by(sched.Method.NeedsLocal)
	// oneNetwork: the real server is on the network of the VIP.
	oneNetwork = by(func(m sched.Method) bool { return m == sched.Route })
)

// runs is the condition that the real server has a service.
func runs(service string) condition {
	return func(p *place) bool { return p.server.service(service) >= 0 }
}

func runsDirector(p *place) bool { return p.Director().service("director") >= 0 }
func severalLinks(p *place) bool { return len(p.Director().Interfaces) > 1 }
func overIPv4(p *place) bool     { return p.VIP.Is4() }
func routed(p *place) bool       { return p.router() != nil }
func hasClient(p *place) bool    { return p.Client() != nil }
func hasGateway(p *place) bool   { return p.server.Gateway.IsValid() && hasClient(p) }

// byAddress reports whether the service is at the virtual address, not by mark.
func byAddress(p *place) bool {
	return p.VIP.IsValid() && (len(p.services) == 0 ||
		slices.ContainsFunc(p.services, func(v VirtualService) bool { return v.Addr == p.VIP }))
}

func vipOnDirector(p *place) bool { return p.Director().Has(p.VIP) }

// service returns the index of a node's service, or -1.
func (n *Node) service(name string) int {
	return slices.IndexFunc(n.Services, func(s Service) bool { return s.Name == name })
}

func (t *Topology) router() *Node {
	for i := range t.Nodes {
		if t.Nodes[i].Role == Router {
			return &t.Nodes[i]
		}
	}
	return nil
}

func single(a netip.Addr) string { return netip.PrefixFrom(a, a.BitLen()).String() }

// How faults that take more than a command are inserted.

func wrongGateway(b *breaker) error {
	wrong := unused(b.server.Address()).String()
	// An IPv6 host takes the next best route once a gateway does not answer, so there it has to
	// be the last.
	if b.random.IntN(2) == 1 && b.vip.Is4() {
		return b.each(b.server.Name, b.ip("route", "add", b.repliesTo().String(), "via", wrong))
	}
	return b.each(b.server.Name, b.ip("route", "replace", "default", "via", wrong))
}

// repliesTo is the network to which servers send replies.
func (b *breaker) repliesTo() netip.Prefix {
	n := b.Topology.Client()
	if b.method().NeedsLocal() {
		n = b.director
	}
	return n.Interfaces[len(n.Interfaces)-1].Addresses[0].Prefix.Masked()
}

func sameSubnet(b *breaker) error {
	p := b.Topology.Client().Interfaces[0].Addresses[0].Prefix
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
	at := []string{"-t", netip.AddrPortFrom(b.vip, 8080).String()}
	return b.each(b.director.Name, slices.Concat(Command{"ipvsadm", "-A"}, at, Command{"-s", "rr"}), b.addServer(at, b.server.Address()))
}

// addServer returns the command that adds an address to a service, in the way of the real
// server that was chosen.
func (b *breaker) addServer(service []string, a netip.Addr) Command {
	return slices.Concat(Command{"ipvsadm", "-a"}, service, Command{"-r", netip.AddrPortFrom(a, b.port()).String(), MethodOption(b.method())})
}

// method is that of the real server that was chosen.
func (b *breaker) method() sched.Method { return b.Topology.Methods()[b.server.Name] }

// port is that of the web server of the real servers.
func (b *breaker) port() uint16 {
	for _, s := range b.virtual.Servers {
		if s.Port != 0 && !s.Method.Direct() {
			return s.Port
		}
	}
	return b.Topology.At().Port()
}

func markUnset(b *breaker) error {
	mark := []string{"-f", "7"}
	if b.vip.Is6() {
		mark = append(mark, "-6")
	}
	return b.each(b.director.Name, slices.Concat(Command{"ipvsadm", "-A"}, mark, Command{"-s", "rr"}), b.addServer(mark, b.server.Address()))
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
	add := Command{"env", "UVS_SOCKET=" + socket, "ipvsadm", "-A", "-t", b.at(), "-s", "rr"}
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
	return b.filter(b.server, fmt.Sprintf("tcp dport %d %s", b.port(), verdict))
}

// filter adds a rule to the input chain of a node.
func (b *breaker) filter(n *Node, rule string) error {
	return b.each(n.Name, Command{"nft", "add table inet filter; " +
		"add chain inet filter input { type filter hook input priority 0; }; add rule inet filter input " + rule})
}

// toVIP returns nft's words for packets to the virtual service.
func (b *breaker) toVIP() string {
	family := "ip"
	if b.vip.Is6() {
		family = "ip6"
	}
	return fmt.Sprintf("%s daddr %s tcp dport %d", family, b.vip, b.Topology.At().Port())
}

func foreignLocal(b *breaker) error {
	foreign := "198.51.100.7"
	if b.vip.Is6() {
		foreign = "2001:db8::7"
	}
	commands := []Command{slices.Concat(Command{"ipvsadm", "--add-laddr"}, b.virtual.words(), Command{"--laddr", foreign})}
	for _, own := range b.virtual.Local {
		commands = append(commands, slices.Concat(Command{"ipvsadm", "--del-laddr"}, b.virtual.words(), Command{"--laddr", own.String()}))
	}
	return b.each(b.director.Name, commands...)
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
	for _, s := range b.virtual.Servers {
		commands = append(commands, slices.Concat(Command{"ipvsadm", "-e"}, b.virtual.words(),
			Command{"-r", s.AddrPort().String(), MethodOption(s.Method), "-w", "0"}))
	}
	return b.each(b.director.Name, commands...)
}

// String names the fault as messages do.
func (f *Fault) String() string { return fmt.Sprintf("%s %s", f.Code, f.Name) }

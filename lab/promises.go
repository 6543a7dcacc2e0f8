package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uvs/forwarder/config"
	"uvs/internal/lang"
	"uvs/sched"
)

// Promises returns the topology's checks or, if it has none, what its nodes and the commands
// that set them up promise.
func (t *Topology) Promises() []Check {
	if t.Checks != nil {
		return t.Checks
	}
	return t.promises()
}

// promise is a TCP service that the commands of a director set up, at one address. One by mark
// is a promise for each of the lab's virtual addresses.
type promise struct {
	*Topology
	VirtualService
	at      netip.AddrPort
	more    bool // another of the service's addresses is promised already
	servers []promised
}

// promised is a server of a service.
type promised struct {
	config.Server
	node *Node
	page string // what its web page says
}

// promises returns what a topology promises: each TCP service serves clients, in the way that
// its forwarding methods say, and nodes are set up as planned.
func (t *Topology) promises() []Check {
	if t.byRole(Director) == nil || t.byRole(Client) == nil {
		return nil
	}
	var all []Check
	services := t.promisedServices()
	for i := range services {
		p := &services[i]
		checks := []Check{p.served()}
		if !p.more {
			checks = slices.Concat(checks, p.seen(), p.waysBack(), p.owner())
		}
		for _, c := range checks {
			if i > 0 {
				c.Name += "-" + word(p.at.String())
			}
			all = append(all, c)
		}
	}
	all = append(all, t.rules()...)
	all = append(all, t.onServers()...)
	if len(services) > 0 {
		all = append(all, Check{Name: "vip-answers-ping", Kind: "ping", Hint: lang.Textf("look whether the director runs", "看看调度器是否在运行")})
	}
	return append(all, Check{Name: "links", Kind: "mtu", On: t.names(), Hint: lang.Textf("look at the interfaces: ip link", "查看接口：ip link")})
}

// word makes an address part of a name.
func word(address string) string {
	isDigit := func(r rune) bool { return r >= '0' && r <= '9' || r >= 'a' && r <= 'f' }
	return strings.Join(strings.FieldsFunc(address, func(r rune) bool { return !isDigit(r) }), "-")
}

// names returns the names of the nodes, of some roles or of all.
func (t *Topology) names(roles ...Role) (all []string) {
	for i := range t.Nodes {
		if len(roles) == 0 || slices.Contains(roles, t.Nodes[i].Role) {
			all = append(all, t.Nodes[i].Name)
		}
	}
	return all
}

// promisedServices returns the director's TCP services and those by mark. A service counts if all
// of its servers are web servers of the lab.
func (t *Topology) promisedServices() (all []promise) {
	for _, v := range t.VirtualServices() {
		var servers []promised
		for _, s := range v.Servers {
			servers = append(servers, t.promisedServer(s))
		}
		if len(servers) == 0 || slices.ContainsFunc(servers, func(s promised) bool { return s.node == nil || s.page == "" }) {
			continue
		}
		for i, at := range t.webOf(v) {
			all = append(all, promise{Topology: t, VirtualService: v, at: at, more: i > 0, servers: servers})
		}
	}
	return all
}

// webOf returns where clients reach a service's web page: if it is by mark, at port 80 of all
// virtual addresses.
func (t *Topology) webOf(v VirtualService) (at []netip.AddrPort) {
	switch {
	case v.Mark != 0:
		for _, vip := range t.VIPs() {
			at = append(at, netip.AddrPortFrom(vip, 80))
		}
	case v.Proto == config.TCP && v.Port != 0:
		at = []netip.AddrPort{netip.AddrPortFrom(v.Addr, v.Port)}
	}
	return at
}

// after returns the word after an option, or a default if there is none.
func (c Command) after(option, otherwise string) string {
	at := slices.Index(c, option)
	if at < 0 || at+1 >= len(c) {
		return otherwise
	}
	return c[at+1]
}

// promisedServer finds the node of a server.
func (t *Topology) promisedServer(server config.Server) promised {
	s := promised{Server: server}
	for _, n := range t.RealServers() {
		if n.Has(server.Addr) {
			s.node, s.page = n, n.page()
		}
	}
	return s
}

// page returns what a web server's page says, empty if the node is none.
func (n *Node) page() string {
	for _, s := range n.Services {
		if page := s.Command.after("--text", ""); page != "" {
			return page
		}
	}
	return ""
}

func (p *promise) url() string { return "http://" + p.at.String() + "/" }

// served is that the client is served by all servers that have a weight, as the scheduler says.
func (p *promise) served() Check {
	c := Check{Name: "client-is-served", Kind: "get", Get: p.url(),
		Hint: lang.Textf("look at what the client gets: curl -m 3 %s", "看看客户端得到什么：curl -m 3 %s", p.url())}
	equal := true
	for _, s := range p.servers {
		if s.Weight > 0 {
			c.Expect, c.Weights = append(c.Expect, s.page), append(c.Weights, int(s.Weight))
			equal = equal && int(s.Weight) == c.Weights[0]
		}
	}
	switch {
	case len(c.Expect) == 0:
	case p.Persistent > 0 || slices.Contains(oneForOne, p.Scheduler):
		c.Kind = "same"
	case p.Scheduler == "rr" || p.Scheduler == "wrr" && equal:
		c.Kind, c.Weights = "alternate", nil
	case p.Scheduler == "wrr":
		c.Kind = "shares"
	}
	if c.Kind == "get" || c.Kind == "same" {
		c.Weights, c.Times = nil, 2*len(c.Expect)
	}
	return c
}

// oneForOne are the schedulers that choose the same server for one client and one address.
var oneForOne = []string{"sh", "dh", "mh", "lblc", "lblcr"}

// by returns the pages of the servers whose forwarding method is of a kind.
func (p *promise) by(kind func(sched.Method) bool) (pages []string) {
	for _, s := range p.servers {
		if kind(s.Method) {
			pages = append(pages, s.page)
		}
	}
	return pages
}

// seen is which address the servers see: FULLNAT's, or the client's. With some servers of
// either kind it may be any.
func (p *promise) seen() []Check {
	own := p.byRole(Client).Address().String()
	translated := p.by(sched.Method.NeedsLocal)
	var local []string
	for _, a := range p.Local {
		local = append(local, a.String())
	}
	c := Check{Name: "servers-see-client", Kind: "source", Get: p.url(), Expect: []string{own},
		Hint: lang.Textf("look at what /client of a server says: something changes the source address", "查看服务器的 /client 页面：有什么改写了源地址")}
	switch {
	case len(translated) > 0 && len(local) == 0:
		return nil
	case len(translated) == len(p.servers):
		c.Name, c.Expect = "servers-see-local-address", local
		c.Hint = lang.Textf("look at the service's local addresses: ipvsadm -S", "查看服务的本地地址：ipvsadm -S")
	case len(translated) > 0:
		c.Expect = append(c.Expect, local...)
	}
	return []Check{c}
}

// waysBack is where the answers of servers pass, by their forwarding methods.
func (p *promise) waysBack() (all []Check) {
	directors := p.names(Director)
	if pages := p.by(sched.Method.Translates); len(pages) > 0 {
		all = append(all, Check{Name: "answers-pass-director", Kind: "reply", Get: p.url(), Expect: pages, Through: directors,
			Hint: lang.Textf("look at the servers' routes: ip route", "查看真实服务器的路由：ip route")})
	}
	if pages := p.by(func(m sched.Method) bool { return !m.Translates() }); len(pages) > 0 {
		all = append(all, Check{Name: "answers-go-straight", Kind: "reply", Get: p.url(), Expect: pages, Past: directors,
			Hint: lang.Textf("look at the servers' routes, and at the virtual address on lo", "查看真实服务器的路由，以及 lo 上的虚拟地址")})
	}
	for i := range all {
		all[i].Times = 2 * len(p.servers)
	}
	return all
}

// owner is that only a director answers for the virtual address, where some node is on its
// network that can ask.
func (p *promise) owner() []Check {
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if n.Role == Director || n.Role == Real || !n.beside(p.at.Addr()) {
			continue
		}
		return []Check{{Name: "one-answers-for-vip", Kind: "arp", From: n.Name, To: p.at.Addr().String(), Expect: p.names(Director),
			Hint: lang.Textf("look who answers ARP for the VIP: ip neigh on %s, arp_ignore on the servers",
				"看看谁应答 VIP 的 ARP：%s 上的 ip neigh，真实服务器上的 arp_ignore", n.Name)}}
	}
	return nil
}

// beside reports whether a node has an address in the network of another.
func (n *Node) beside(a netip.Addr) bool {
	return slices.ContainsFunc(n.Interfaces, func(i Interface) bool {
		return slices.ContainsFunc(i.Addresses, func(own Address) bool {
			return own.Prefix.Contains(a) && own.Prefix.Addr() != a
		})
	})
}

// rules are the director's services, servers and settings, and no others.
func (t *Topology) rules() []Check {
	c := Check{Name: "rules", Kind: "ipvsadm", Only: true, On: t.names(Director),
		Hint: lang.Textf("look at the director's rules: ipvsadm -Ln", "查看调度器的规则：ipvsadm -Ln")}
	for _, command := range t.byRole(Director).Setup {
		if len(command) > 1 && (command[0] == "ipvsadm" || command[0] == "uvs") { // words of a rules file follow
			c.Expect = append(c.Expect, command[1:].String())
		}
	}
	if len(c.Expect) == 0 {
		return nil
	}
	c.Expect = append(c.Expect, "--set 900 120 300", "sysctl net.ipv4.vs.drop_packet=0", "sysctl net.ipv4.vs.drop_entry=0")
	return []Check{c}
}

// onServers is what the servers are set up with: gateways, addresses and parameters. Servers
// for which it is the same are looked at together.
func (t *Topology) onServers() (all []Check) {
	add := func(c Check, node string) {
		same := func(o Check) bool { return o.Kind == c.Kind && slices.Equal(o.Expect, c.Expect) }
		if i := slices.IndexFunc(all, same); i >= 0 {
			all[i].On = append(all[i].On, node)
			return
		}
		if slices.ContainsFunc(all, func(o Check) bool { return o.Name == c.Name }) {
			c.Name += "-" + node
			if c.Kind == "address" {
				address, _, _ := strings.Cut(c.Expect[0], "/")
				c.Name = "vip-on-servers-" + word(address)
			}
		}
		c.On = []string{node}
		all = append(all, c)
	}
	for _, n := range t.RealServers() {
		if n.Gateway.IsValid() {
			add(Check{Name: "servers-gateway", Kind: "gateway", Expect: []string{n.Gateway.String()},
				Hint: lang.Textf("look at the servers' routes: ip route", "查看真实服务器的路由：ip route")}, n.Name)
		}
		for _, c := range n.Setup {
			if promised, ok := c.promise(); ok {
				add(promised, n.Name)
			}
		}
	}
	return all
}

// promise returns what a command that sets up a server promises, if it is a known one.
func (c Command) promise() (Check, bool) {
	if len(c) == 6 && strings.HasPrefix(c.String(), "ip addr add ") {
		return Check{Name: "vip-on-servers", Kind: "address", Expect: []string{fmt.Sprint(c[3], " ", c[5])},
			Hint: lang.Textf("look at the servers' lo: ip addr show lo", "查看真实服务器的 lo：ip addr show lo")}, true
	}
	if len(c) < 3 || c[0] != "sysctl" {
		return Check{}, false
	}
	var parameters []string
	for _, word := range c[1:] {
		// On lo nobody asks by ARP: there they are for show.
		if strings.Contains(word, "=") && !strings.Contains(word, ".conf.lo.arp_") {
			parameters = append(parameters, word)
		}
	}
	if len(parameters) == 0 {
		return Check{}, false
	}
	return Check{Name: "servers-keep-silent", Kind: "sysctl", Expect: parameters,
		Hint: lang.Textf("look at arp_ignore and arp_announce on the servers", "查看真实服务器上的 arp_ignore 和 arp_announce")}, true
}

// promisesOfPair changes the checks of a lab with one director to those of one with two.
func (t *Topology) promisesOfPair(checks []Check) []Check {
	two := t.names(Director)
	for i := range checks {
		c := &checks[i]
		for _, names := range []*[]string{&c.On, &c.Through, &c.Past, &c.Expect} {
			if slices.Equal(*names, []string{active}) {
				*names = two
			}
		}
		if c.Kind == "mtu" {
			c.On = t.names()
		}
	}
	return append(checks, Check{Name: "takeover", Kind: "takeover",
		Hint: lang.Textf("look at the logs of both directors: uvs lab logs director", "查看两台调度器的日志：uvs lab logs director")})
}

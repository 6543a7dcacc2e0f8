package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"uvs/forwarder/config"
	"uvs/lab"
)

func init() {
	checks = append(checks, checkReturns, checkServersReached, checkLinks, checkRouters)
}

// A target is a real server of a service.
type target struct {
	service *config.ServiceState
	server  *config.ServerState
	host    *Host // in a lab, the node that has its address; else nil
}

// targets returns the real servers of all services.
func (s *Scene) targets() (all []target) {
	services := s.services()
	for i := range services {
		for j := range services[i].Servers {
			t := target{service: &services[i], server: &services[i].Servers[j]}
			if h := s.owner(t.server.Addr); s.Lab != nil {
				t.host = h
			}
			all = append(all, t)
		}
	}
	return all
}

// direct reports whether the server gets packets with the virtual address as destination.
func (t *target) direct() bool { return t.server.Method.Direct() }

// at returns where the server's program is to listen.
func (t *target) at() netip.AddrPort {
	if !t.direct() {
		return t.server.AddrPort()
	}
	port := t.server.Port
	if t.service.Port != 0 {
		port = t.service.Port
	}
	return netip.AddrPortFrom(t.service.Addr, port)
}

// remove returns the command that takes the server out of its service.
func (t *target) remove() string {
	return fmt.Sprintf("ipvsadm -d %s -r %s", key(t.service), t.server.AddrPort())
}

// ip returns the words that begin a command of ip(8) about an address.
func ip(a netip.Addr) string {
	if a.Is6() {
		return "ip -6"
	}
	return "ip"
}

// clients are the addresses of the lab's clients, of the family of a.
func (s *Scene) clients(a netip.Addr) (all []netip.Addr) {
	for i := range s.nodes() {
		if n := &s.Lab.Nodes[i]; n.Role == lab.Client && n.Address().Is4() == a.Is4() {
			all = append(all, n.Address())
		}
	}
	return all
}

// checkReturns follows the way of replies from each real server of a lab.
func checkReturns(s *Scene) (found []Finding) {
	done := map[string]bool{}
	for _, t := range s.targets() {
		if t.host == nil || t.host == s.director() || done[t.host.Name] {
			continue
		}
		f, ok := s.checkReturn(&t)
		if ok {
			done[t.host.Name] = true
			found = append(found, f)
		}
	}
	return found
}

func (s *Scene) checkReturn(t *target) (f Finding, found bool) {
	for _, c := range s.repliesTo(t) {
		through, reached := s.walk(t.host, c)
		switch {
		case t.server.Method.Masquerades() && !through:
			return s.bypass(t, c), true
		case !reached || t.direct() && through:
			return s.noWay(t, c), true
		}
	}
	return f, false
}

// repliesTo are the addresses to which a server sends replies.
func (s *Scene) repliesTo(t *target) []netip.Addr {
	if !t.server.Method.NeedsLocal() {
		if t.service.Mark != 0 {
			return s.clients(t.server.Addr)
		}
		return s.clients(t.service.Addr)
	}
	var own []netip.Addr
	for _, a := range t.service.Local {
		if a.Is4() == t.server.Addr.Is4() && s.director().onLink(a) {
			own = append(own, a)
		}
	}
	return own
}

// walk follows a packet from a host to an address by the hosts' routes. It returns whether
// it passes the director, and whether it arrives.
func (s *Scene) walk(h *Host, to netip.Addr) (through, reached bool) {
	for range len(s.Hosts) + 1 {
		w, known := h.Ways[to.String()]
		switch {
		case !known:
			return through, true // nothing speaks against it
		case w.Error != "":
			return through, false
		case w.Local:
			return through, true
		case !w.Gateway.IsValid():
			return through, s.neighbours(h, w.Link, to)
		}
		next := s.owner(w.Gateway)
		if next == nil || !s.neighbours(h, w.Link, w.Gateway) {
			return through, false
		}
		h = next
		through = through || h == s.director()
	}
	return through, false // a loop
}

// neighbours reports whether an address is on the network of a host's interface in the lab's
// plan. Addresses of no node, such as FULLNAT's local ones, are believed to be there.
func (s *Scene) neighbours(h *Host, link string, to netip.Addr) bool {
	other := s.owner(to)
	if other == nil || s.Lab == nil {
		return true
	}
	a := other.holds(to)
	return s.network(h.Name, link) == s.network(other.Name, a.Link)
}

// network returns the lab's network of a node's interface, or an empty string.
func (s *Scene) network(node, link string) string {
	n := s.Lab.Node(node)
	if n == nil {
		return ""
	}
	for i, iface := range n.Interfaces {
		if link == fmt.Sprintf("eth%d", i) {
			return iface.Network
		}
	}
	return ""
}

// onLink reports whether an address is in a network of one of the host's interfaces.
func (h *Host) onLink(a netip.Addr) bool {
	for _, own := range h.Addresses {
		if own.Prefix.Contains(a) && !own.Prefix.IsSingleIP() && own.Link != "lo" {
			return true
		}
	}
	return false
}

// bypass is the finding about a server by NAT whose replies do not pass the director.
func (s *Scene) bypass(t *target, client netip.Addr) Finding {
	w, r := t.host.Ways[client.String()], t.host.covering(client)
	if r != nil && !w.Gateway.IsValid() && r.Dst.Bits() > 0 && t.host.onLink(client) {
		return s.sameSubnet(t, client)
	}
	return s.noWay(t, client)
}

func (s *Scene) sameSubnet(t *target, client netip.Addr) Finding {
	f := find(SameSubnet, Error, t.host, fmt.Sprintf("%s reaches the client %s directly, not through the director", t.host.Name, client))
	for _, a := range t.host.Addresses {
		if a.Prefix.Contains(client) && a.Link != "lo" {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s has %s on %s, and the client is in that network", t.host.Name, a.Prefix, a.Link))
			if a.Prefix.Addr() != t.server.Addr {
				f = f.fixed(t.host.Name, fmt.Sprintf("%s addr del %s dev %s", ip(client), a.Prefix, a.Link))
			}
		}
	}
	return f
}

// noWay is the finding about a server whose replies go elsewhere or nowhere.
func (s *Scene) noWay(t *target, client netip.Addr) Finding {
	h, w := t.host, t.host.Ways[client.String()]
	gateway := s.gateway(t)
	f := find(NoReturn, Error, h, fmt.Sprintf("replies of %s to %s do not come back", h.Name, client))
	r := h.covering(client)
	switch {
	case w.Error != "" || r == nil:
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s has no route to %s", h.Name, client))
		r = nil
	case r.Gateway.IsValid():
		f.Evidence = append(f.Evidence, fmt.Sprintf("route of %s: %s via %s dev %s", h.Name, r.Dst, r.Gateway, r.Link))
	default:
		f.Evidence = append(f.Evidence, fmt.Sprintf("route of %s: %s dev %s", h.Name, r.Dst, r.Link))
	}
	if gateway.IsValid() {
		f.Evidence = append(f.Evidence, fmt.Sprintf("its gateway should be %s", gateway))
	}
	if r != nil && r.Dst.Bits() > 0 {
		via := ""
		if r.Gateway.IsValid() {
			via = " via " + r.Gateway.String()
		}
		return f.fixed(h.Name, fmt.Sprintf("%s route del %s%s dev %s", ip(client), r.Dst, via, r.Link))
	}
	if gateway.IsValid() {
		f = f.fixed(h.Name, fmt.Sprintf("%s route replace default via %s", ip(client), gateway))
	}
	return f
}

// gateway returns what the server's default gateway should be: the director's address on
// its network for NAT, else the one of the lab's plan.
func (s *Scene) gateway(t *target) netip.Addr {
	if n := s.Lab.Node(t.host.Name); n != nil && n.Gateway.IsValid() {
		return n.Gateway
	}
	for _, a := range s.director().Addresses {
		if t.server.Method.Masquerades() && a.Prefix.Contains(t.server.Addr) && !s.virtual(a.Prefix.Addr()) {
			return a.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

// checkServersReached looks from the director for each real server.
func checkServersReached(s *Scene) (found []Finding) {
	d := s.director()
	done := map[netip.Addr]bool{}
	for _, t := range s.targets() {
		w, known := d.Ways[t.server.Addr.String()]
		if !known || w.Local || done[t.server.Addr] {
			continue
		}
		if evidence := s.unreached(&t, w); evidence != "" {
			done[t.server.Addr] = true
			f := find(NoNeighbour, Error, d, fmt.Sprintf("real server %s cannot be reached from the director", t.server.Addr),
				evidence, fmt.Sprintf("%s has it as %s", key(t.service), t.server.AddrPort()))
			found = append(found, f.fixed(d.Name, s.removeAll(t.server.Addr)...))
		}
	}
	return found
}

// removeAll takes a server's address out of all services.
func (s *Scene) removeAll(a netip.Addr) (commands []string) {
	for _, t := range s.targets() {
		if t.server.Addr == a {
			commands = append(commands, t.remove())
		}
	}
	return commands
}

// unreached says why the director does not reach a server, or nothing.
func (s *Scene) unreached(t *target, w Way) string {
	hop := t.server.Addr
	if w.Gateway.IsValid() {
		hop = w.Gateway
	}
	_, failed := s.director().known(hop)
	switch {
	case w.Error != "":
		return "the director has no route to it"
	case w.Gateway.IsValid() && t.direct() && !t.server.Method.Encapsulates():
		return fmt.Sprintf("its route leads through the router %s, which direct routing cannot cross", w.Gateway)
	case s.Lab != nil && t.host == nil && !s.assigned(t.server.Addr):
		return "no host of the lab has this address"
	case failed && s.Lab == nil:
		return fmt.Sprintf("%s does not answer on %s", hop, w.Link)
	}
	return ""
}

// assigned reports whether a node of the lab should have an address: that it is missing is
// another finding.
func (s *Scene) assigned(a netip.Addr) bool {
	return slices.ContainsFunc(s.nodes(), func(n lab.Node) bool { return n.Has(a) })
}

// checkLinks compares the interfaces of a lab's nodes with its plan.
func checkLinks(s *Scene) (found []Finding) {
	for i := range s.nodes() {
		n := &s.Lab.Nodes[i]
		h := s.named(n.Name)
		if h == nil {
			continue
		}
		for j, iface := range n.Interfaces {
			name := fmt.Sprintf("eth%d", j)
			l := h.link(name)
			if up := l != nil && l.Up; !up || s.lost(h, iface) {
				found = append(found, linkDown(n, h, name, iface, up))
			}
			if f, ok := s.checkMTU(h, name, iface.Network); ok {
				found = append(found, f)
			}
		}
	}
	return found
}

// lost reports whether a host does not have one of its interface's addresses. The virtual
// address may be anywhere.
func (s *Scene) lost(h *Host, iface lab.Interface) bool {
	return slices.ContainsFunc(iface.Addresses, func(a lab.Address) bool {
		return !s.Lab.IsVIP(a.Prefix.Addr()) && !h.has(a.Prefix.Addr())
	})
}

// linkDown is the finding about an interface that is down, or has lost an address. Its routes
// are gone, and over IPv6 its addresses too, so these follow.
func linkDown(n *lab.Node, h *Host, name string, iface lab.Interface, up bool) Finding {
	f := find(LinkDown, Error, h, fmt.Sprintf("%s of %s is down", name, n.Name), fmt.Sprintf("ip link show %s: not UP", name)).
		fixed(n.Name, "ip link set "+name+" up")
	if up {
		f = find(LinkDown, Error, h, fmt.Sprintf("%s of %s has lost its address", name, n.Name))
	}
	for _, a := range iface.Addresses {
		if h.has(a.Prefix.Addr()) {
			continue
		}
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s has no address %s", name, a.Prefix))
		command := fmt.Sprintf("%s addr add %s dev %s", ip(a.Prefix.Addr()), a.Prefix, name)
		if a.Prefix.Addr().Is6() {
			command += " nodad"
		}
		f = f.fixed(n.Name, command)
	}
	if n.Gateway.IsValid() && slices.ContainsFunc(iface.Addresses, func(a lab.Address) bool { return a.Prefix.Contains(n.Gateway) }) {
		f = f.fixed(n.Name, fmt.Sprintf("%s route replace default via %s", ip(n.Gateway), n.Gateway))
	}
	return f
}

// checkMTU compares an interface's MTU with that of its network.
func (s *Scene) checkMTU(h *Host, link, network string) (f Finding, found bool) {
	n, l := s.Lab.Network(network), h.link(link)
	if n == nil || l == nil {
		return f, false
	}
	want := n.MTU
	if want == 0 {
		want = 1500
	}
	if l.MTU == want {
		return f, false
	}
	return find(MTU, Error, h, fmt.Sprintf("%s of %s has another MTU than its network", link, h.Name),
		fmt.Sprintf("%s: mtu %d; the others on %s: mtu %d", link, l.MTU, network, want),
	).fixed(h.Name, fmt.Sprintf("ip link set %s mtu %d", link, want)), true
}

// checkRouters looks for routers of a lab that do not forward.
func checkRouters(s *Scene) (found []Finding) {
	for i := range s.nodes() {
		n := &s.Lab.Nodes[i]
		h := s.named(n.Name)
		if n.Role != lab.Router || h == nil {
			continue
		}
		key := "net.ipv4.ip_forward"
		if s.Lab.VIP.Is6() {
			key = "net.ipv6.conf.all.forwarding"
		}
		if h.number(key) == 0 {
			found = append(found, find(NoForwarding, Error, h, n.Name+" does not forward packets", key+" = 0").
				fixed(n.Name, "sysctl -w "+key+"=1"))
		}
	}
	return found
}

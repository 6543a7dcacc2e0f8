package topofile

import (
	"net/netip"
	"slices"

	"uvs/forwarder/config"
	"uvs/lab"
)

// lower writes the short words out.
func (r *reader) lower() {
	for _, n := range r.order {
		r.addresses(n)
		r.reached(n)
	}
	r.twice()
	vips := r.virtual()
	r.apart(vips)
	for _, n := range r.order {
		r.writeOut(n, vips)
	}
	members := r.members()
	for _, n := range r.order {
		r.familiesFit(n, members)
		n.Setup = append(n.Setup, complete(n.ipvsadm, members)...)
		r.topology.Nodes = append(r.topology.Nodes, n.Node)
	}
}

// addresses gives the interfaces their addresses, and sees that there is no gap between them.
func (r *reader) addresses(n *node) {
	for i, iface := range n.Interfaces {
		if iface.Network == "" {
			p := n.interfaces[slices.IndexFunc(n.interfaces, func(p port) bool { return p.number == len(n.Interfaces)-1 })]
			r.wrong(p.at, "%s has eth%d and no eth%d: interfaces are eth0, eth1 and so on", n.Name, p.number, i)
			return
		}
	}
	for _, p := range slices.Concat(n.interfaces, n.aliases) {
		if p.number >= len(n.Interfaces) {
			r.wrong(p.at, "%s: %s: there is no eth%d: expected one that links have", n.Name, p.label, p.number)
			continue
		}
		n.Interfaces[p.number].Addresses = append(n.Interfaces[p.number].Addresses, p.addresses...)
	}
}

// reached sees that gateways are where the node can reach them.
func (r *reader) reached(n *node) {
	near := func(a netip.Addr) bool {
		return slices.ContainsFunc(n.Interfaces, func(i lab.Interface) bool {
			return slices.ContainsFunc(i.Addresses, func(own lab.Address) bool { return own.Prefix.Contains(a) && own.Prefix.Addr() != a })
		})
	}
	if n.Gateway.IsValid() && !near(n.Gateway) {
		r.wrong(n.gatewayAt, "%s: gateway %s is in no network of its interfaces: expected an address that a neighbour has", n.Name, n.Gateway)
	}
	for i, route := range n.Routes {
		if route.Via.IsValid() && route.Link == "" && !near(route.Via) {
			r.wrong(n.routesAt[i], "%s: %s is in no network of its interfaces: expected an address that a neighbour has", n.Name, route.Via)
		}
		if route.Link != "" && !slices.ContainsFunc(n.interfaces, func(p port) bool { return p.at.Value == route.Link }) {
			r.wrong(n.routesAt[i], "%s: it has no interface %s", n.Name, route.Link)
		}
	}
}

// twice looks for an address that two interfaces on one network have.
func (r *reader) twice() {
	type place struct {
		network string
		addr    netip.Addr
	}
	owners := map[place]string{}
	for _, n := range r.order {
		for _, p := range slices.Concat(n.interfaces, n.aliases) {
			for i, a := range p.addresses {
				if p.number >= len(n.Interfaces) {
					continue
				}
				at := place{n.Interfaces[p.number].Network, a.Prefix.Addr()}
				if owner := owners[at]; owner != "" {
					r.wrong(p.places[i], "%s: %s has %s already: expected an address of its own", n.Name, owner, at.addr)
				}
				owners[at] = n.Name
			}
		}
	}
}

// virtual returns the virtual addresses: those that directors name, else those of their
// services.
func (r *reader) virtual() (all []netip.Addr) {
	add := func(a netip.Addr) {
		if a.IsValid() && !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	for _, n := range r.order {
		for _, a := range n.vips {
			add(a)
		}
	}
	if len(all) == 0 {
		for _, n := range r.order {
			for _, c := range n.ipvsadm {
				if c := lab.IPVSCommand(c); c != nil && c.Op == config.OpAddService {
					add(c.Service.Addr)
				}
			}
		}
	}
	if len(all) > 0 {
		r.topology.VIP = all[0]
	}
	if len(all) > 1 {
		r.topology.MoreVIPs = slices.Clone(all[1:])
	}
	return all
}

// writeOut writes out what a node's role and mode stand for. The director's ipvsadm commands
// follow when all real servers are known.
func (r *reader) writeOut(n *node, vips []netip.Addr) {
	n.Forward = n.Role == lab.Router
	if n.forward != nil {
		n.Forward = *n.forward
	}
	n.Services = r.usual(n)
	n.Setup = n.setup
	if n.mode != "" {
		m := modeOf(n.mode)
		if m.method.Direct() && len(vips) == 0 {
			r.wrong(n.modeAt, "%s: mode %s needs the virtual address: expected  vip: ADDRESS  at the director", n.Name, n.mode)
		}
		if !n.Address().IsValid() {
			r.wrong(n.key, "%s: a real server needs an address: expected one such as  eth0: 10.0.0.11/24", n.Name)
		}
		n.Setup = slices.Concat(m.setup(vips), n.setup)
	}
	for _, s := range n.services {
		r.serve(n, s)
	}
}

// usual returns what runs on a node without being named as a service.
func (r *reader) usual(n *node) (all []lab.Service) {
	if n.http != "" {
		all = append(all, lab.WebService(n.http))
	}
	if n.mode != "" {
		all = append(all, modeOf(n.mode).services()...)
	}
	if n.Role == lab.Director {
		n.Services = []lab.Service{lab.DirectorService()}
		if len(n.Interfaces) > 0 && !slices.ContainsFunc(n.Interfaces, func(i lab.Interface) bool { return !r.topology.Network(i.Network).NoOffload }) {
			n.WithoutGRO()
		}
		all = append(all, n.Services...)
	}
	return all
}

// serve adds a service, or changes what is usual.
func (r *reader) serve(n *node, s service) {
	at := slices.IndexFunc(n.Services, func(o lab.Service) bool { return o.Name == s.Name })
	switch {
	case at < 0 && s.none:
		r.wrong(n.key, "%s: service %s is none anyway: expected a command", n.Name, s.Name)
	case at < 0 && !s.run:
		r.wrong(n.key, "%s: service %s: expected  run: COMMAND", n.Name, s.Name)
	case at < 0:
		n.Services = append(n.Services, s.Service)
	case s.none:
		n.Services = slices.Delete(n.Services, at, at+1)
	default:
		s.change(&n.Services[at])
	}
}

// change gives a usual service what the file says about it.
func (s *service) change(o *lab.Service) {
	if s.run {
		o.Command = s.Command
	}
	if s.ready {
		o.Ready = s.Ready
	}
	if s.setUp {
		o.Setup = s.Setup
	}
	if s.lateSaid {
		o.Late = s.Late
	}
}

// members returns the real servers that have a mode.
func (r *reader) members() (all []member) {
	for _, n := range r.order {
		if n.mode != "" {
			all = append(all, member{n, n.Address(), modeOf(n.mode).method, n.weight})
		}
	}
	return all
}

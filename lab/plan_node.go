package lab

import (
	"fmt"
	"slices"
	"strings"

	"uvs/lab/wire"
)

// remove is that a node goes: its processes end, its links go.
func (p *planner) remove(n *Node) {
	p.add(leave, goes, "node "+n.Name, "its processes end, its links go", func(s *supervisor) error { return s.removeNode(n.Name) })
}

// create is that a node comes.
func (p *planner) create(n *Node) {
	var on []string
	for i, iface := range n.Interfaces {
		on = append(on, iface.words(ethName(i)))
	}
	p.add(plug, comes, "node "+n.Name, strings.Join(append([]string{string(n.Role)}, on...), ", "), func(s *supervisor) error {
		for i := range n.Interfaces {
			if err := s.plugIn(n.Name, i); err != nil {
				return err
			}
		}
		return nil
	})
	p.add(address, comes, "", "", func(s *supervisor) error { return s.on(n.Name, (*host).configure) })
	for i, iface := range n.Interfaces {
		p.impair(n, i, iface.Impair)
	}
	if len(n.Files) > 0 {
		p.add(write, comes, "", "", func(s *supervisor) error { return s.on(n.Name, func(h *host) error { return h.writeFiles() }) })
	}
	for _, sv := range n.Services {
		p.start(n, sv, "")
	}
	for _, c := range n.Setup {
		p.run(n, c, c, true)
	}
}

// words says where an interface is.
func (i *Interface) words(name string) string {
	text := name
	for _, a := range i.Addresses {
		text += " " + a.Prefix.String()
	}
	return text + " on " + i.Network
}

// node compares a node with what it was.
func (p *planner) node(was, n *Node) {
	if was.Role != n.Role {
		p.add(arrive, becomes, "node "+n.Name, fmt.Sprintf("%s → %s", was.Role, n.Role), nil)
	}
	touched := p.interfaces(was, n)
	touched = p.routes(was, n) || touched
	if touched {
		p.add(address, becomes, "", "", func(s *supervisor) error { return s.on(n.Name, (*host).repair) })
	}
	if was.Forward != n.Forward {
		p.add(address, becomes, "forward of "+n.Name, fmt.Sprintf("%t → %t", was.Forward, n.Forward), func(s *supervisor) error { return s.on(n.Name, (*host).setForward) })
	}
	p.files(was, n)
	p.services(was, n)
	p.commands(was, n)
}

// interfaces compares the interfaces of a node, and reports whether one has changed.
func (p *planner) interfaces(was, n *Node) (touched bool) {
	for i := len(n.Interfaces); i < len(was.Interfaces); i++ {
		p.add(leave, goes, "link "+n.Name+":"+ethName(i), "leaves "+was.Interfaces[i].Network, func(s *supervisor) error { return s.unplug(n.Name, i) })
		touched = true
	}
	for i := range n.Interfaces {
		iface, name := &n.Interfaces[i], n.Name+":"+ethName(i)
		if i >= len(was.Interfaces) {
			p.add(plug, comes, "link "+name, iface.words(ethName(i)), func(s *supervisor) error { return s.plugIn(n.Name, i) })
			p.add(address, comes, "", "", func(s *supervisor) error {
				return s.on(n.Name, func(h *host) error { return h.configureInterface(i) })
			})
			p.impair(n, i, iface.Impair)
			touched = true
			continue
		}
		old := &was.Interfaces[i]
		if old.Network != iface.Network {
			p.add(plug, becomes, "link "+name, old.Network+" → "+iface.Network, func(s *supervisor) error { return s.move(n.Name, i) })
			touched = true
		}
		touched = p.addresses(n, i, old, iface) || touched
		if old.Impair != iface.Impair {
			p.add(disturb, becomes, "link "+name, orDash(old.Impair.String())+" → "+orDash(iface.Impair.String()), func(s *supervisor) error { return s.setImpairment(n.Name, i) })
		}
	}
	return touched
}

// impair gives a new link its impairment.
func (p *planner) impair(n *Node, i int, impair wire.Impairment) {
	if impair != (wire.Impairment{}) {
		p.add(disturb, comes, "", "", func(s *supervisor) error { return s.setImpairment(n.Name, i) })
	}
}

// addresses compares the addresses of an interface.
func (p *planner) addresses(n *Node, i int, was, is *Interface) (touched bool) {
	at := " of " + n.Name + ":" + ethName(i)
	for _, a := range was.Addresses {
		if !slices.Contains(is.Addresses, a) {
			p.add(address, goes, "address "+a.Prefix.String(), strings.TrimSpace(at+" "+a.Label), func(s *supervisor) error {
				return s.on(n.Name, func(h *host) error { return h.removeAddress(ethName(i), a) })
			})
			touched = true
		}
	}
	for _, a := range is.Addresses {
		if !slices.Contains(was.Addresses, a) {
			p.add(address, comes, "address "+a.Prefix.String(), strings.TrimSpace(at+" "+a.Label), func(s *supervisor) error {
				return s.on(n.Name, func(h *host) error { return h.addAddress(ethName(i), a) })
			})
			touched = true
		}
	}
	return touched
}

// routes compares the routes of a node.
func (p *planner) routes(was, n *Node) (touched bool) {
	old, next := was.AllRoutes(), n.AllRoutes()
	for _, r := range old {
		if !slices.Contains(next, r) {
			p.add(address, goes, "route "+r.String(), "of "+n.Name, func(s *supervisor) error {
				return s.on(n.Name, func(h *host) error { return h.removeRoute(r) })
			})
		}
	}
	for _, r := range next {
		if !slices.Contains(old, r) { // repair adds it
			p.add(address, comes, "route "+r.String(), "of "+n.Name, nil)
			touched = true
		}
	}
	return touched
}

func (p *planner) files(was, n *Node) {
	if slices.Equal(was.Files, n.Files) {
		return
	}
	var names []string
	for _, f := range n.Files {
		if !slices.Contains(was.Files, f) {
			names = append(names, f.Name)
		}
	}
	text := strings.Join(names, ", ") + ": who has read them is not told"
	if len(names) == 0 {
		text = "some are gone; those written stay"
	}
	p.add(write, becomes, "files of "+n.Name, text, func(s *supervisor) error {
		return s.on(n.Name, func(h *host) error { return h.writeFiles() })
	})
}

// services compares the services of a node.
func (p *planner) services(was, n *Node) {
	for _, sv := range was.Services {
		if n.service(sv.Name) < 0 {
			p.add(stop, goes, "service "+sv.Name+" of "+n.Name, "", func(s *supervisor) error { return s.removeService(n.Name, sv.Name) })
		}
	}
	for _, sv := range n.Services {
		at := was.service(sv.Name)
		switch {
		case at < 0:
			p.start(n, sv, "service "+sv.Name+" of "+n.Name)
		case !slices.Equal(was.Services[at].Command, sv.Command):
			p.add(stop, becomes, "service "+sv.Name+" of "+n.Name, sv.Command.String()+" (this process is started anew)", func(s *supervisor) error { return s.removeService(n.Name, sv.Name) })
			p.start(n, sv, "")
		case was.Services[at].Ready != sv.Ready || was.Services[at].Setup != sv.Setup || was.Services[at].Late != sv.Late:
			name, old := n.Name, was.Services[at]
			st := p.add(start, becomes, "service "+sv.Name+" of "+name, "when it is started the next time", func(s *supervisor) error { return s.retell(name, sv) })
			st.forget = func(t *Topology) {
				n := t.Node(name)
				n.Services = slices.Clone(n.Services)
				n.Services[n.service(sv.Name)] = old
			}
		}
	}
}

// start is that a service comes.
func (p *planner) start(n *Node, sv Service, what string) {
	if sv.Setup && p.next.Bare {
		return
	}
	name := n.Name
	at := start
	if sv.Late {
		at = startLate
	}
	st := p.add(at, comes, what, sv.Command.String(), func(s *supervisor) error { return s.addService(name, sv) })
	st.forget = func(t *Topology) {
		if n := t.Node(name); n != nil {
			n.Services = slices.DeleteFunc(slices.Clone(n.Services), func(o Service) bool { return o.Name == sv.Name })
		}
	}
}

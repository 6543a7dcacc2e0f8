package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uvs/lab"
)

func init() {
	checks = append(checks, checkVIPs, checkListeners, checkDecap, checkOthers)
}

// checkVIPs looks at how the virtual address is held on servers that need it, and by nobody
// else.
func checkVIPs(s *Scene) (found []Finding) {
	done := map[string]bool{}
	for _, t := range s.targets() {
		h, vip := t.host, t.service.Addr
		if h == nil || h == s.director() || !t.direct() || !vip.IsValid() || done[h.Name+vip.String()] {
			continue
		}
		done[h.Name+vip.String()] = true
		held := h.holds(vip)
		if held == nil {
			found = append(found, find(VIPMissing, Error, h, fmt.Sprintf("%s does not have the virtual address %s", h.Name, vip),
				fmt.Sprintf("no interface of %s has %s", h.Name, vip),
				fmt.Sprintf("%s has it as a server by %s", key(t.service), t.server.Method.Traits().Word)).
				fixed(h.Name, fmt.Sprintf("%s addr add %s dev lo", ip(vip), single(vip))))
			continue
		}
		if !held.Prefix.IsSingleIP() && held.Link == "lo" {
			found = append(found, find(Mask, Error, h, fmt.Sprintf("%s takes the whole network of the virtual address for itself", h.Name),
				fmt.Sprintf("%s has %s on %s", h.Name, held.Prefix, held.Link)).
				fixed(h.Name, fmt.Sprintf("%s addr del %s dev %s", ip(vip), held.Prefix, held.Link),
					fmt.Sprintf("%s addr add %s dev %s", ip(vip), single(vip), held.Link)))
		}
		if f, ok := s.answersARP(h, vip); ok {
			found = append(found, f)
		}
	}
	return append(found, s.claims(found)...)
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// answersARP looks at the parameters by which a server that has the virtual address on lo
// keeps silent about it.
func (s *Scene) answersARP(h *Host, vip netip.Addr) (f Finding, found bool) {
	if !vip.Is4() {
		return f, false
	}
	for _, l := range h.Links {
		if l.Loopback || !l.Up || s.network(h.Name, l.Name) != s.networkOf(vip) {
			continue
		}
		ignore, announce := h.conf(l.Name, "arp_ignore"), h.conf(l.Name, "arp_announce")
		if ignore > 0 && announce > 1 {
			continue
		}
		f = find(ARPConflict, Error, h, fmt.Sprintf("%s answers ARP for the virtual address %s", h.Name, vip))
		for _, c := range []string{"all", l.Name, "lo"} {
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s: net.ipv4.conf.%s: arp_ignore = %d, arp_announce = %d", h.Name, c,
				h.number("net.ipv4.conf."+c+".arp_ignore"), h.number("net.ipv4.conf."+c+".arp_announce")))
		}
		f.Evidence = append(f.Evidence, s.macs(h, vip)...)
		return f.fixed(h.Name, silence), true
	}
	return f, false
}

// silence keeps a server from answering ARP for addresses on lo.
const silence = "sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"

// networkOf returns the lab's network on which the virtual address is looked for.
func (s *Scene) networkOf(vip netip.Addr) string {
	d := s.Lab.Node(s.director().Name)
	for _, iface := range d.Interfaces {
		for _, a := range iface.Addresses {
			if a.Prefix.Addr() == vip || a.Prefix.Contains(vip) {
				return iface.Network
			}
		}
	}
	if len(d.Interfaces) == 0 {
		return ""
	}
	return d.Interfaces[0].Network
}

// macs says who was seen to claim an address.
func (s *Scene) macs(h *Host, vip netip.Addr) (evidence []string) {
	for _, c := range s.director().Sight.Claims {
		if c.Addr == vip && slices.ContainsFunc(h.Links, func(l Link) bool { return l.MAC == c.MAC }) {
			evidence = append(evidence, fmt.Sprintf("%s (%s) said %d times in %.1f s of ARP that it has %s",
				c.MAC, h.Name, c.Count, s.director().Sight.Seconds, vip))
		}
	}
	return evidence
}

// claims are the findings about others that claimed a virtual address by ARP and are not
// found by their parameters.
func (s *Scene) claims(before []Finding) (found []Finding) {
	d := s.director()
	for _, c := range d.Sight.Claims {
		if !s.virtual(c.Addr) || d.Director != nil && slices.Contains(d.Director.Silent, c.Addr) {
			continue
		}
		h, server := s.holder(c.MAC)
		if h != nil && h != d && s.Lab.Node(h.Name) != nil && s.Lab.Node(h.Name).Has(c.Addr) {
			continue // its own, as those of web sites behind a cache
		}
		if h != nil && slices.ContainsFunc(before, func(f Finding) bool { return f.Code == ARPConflict && f.Host == h.Name }) {
			continue
		}
		code, who := VIPTaken, c.MAC
		if server.IsValid() {
			code, who = ARPConflict, fmt.Sprintf("%s (%s)", c.MAC, server)
		}
		f := find(code, Error, d, fmt.Sprintf("%s answers ARP for the virtual address %s", who, c.Addr),
			fmt.Sprintf("%s was claimed on %s by %s, %d times in %.1f s", c.Addr, c.Link, who, c.Count, d.Sight.Seconds))
		if h != nil {
			f.Host = h.Name
		}
		found = append(found, s.silenced(f, h, server, c.Addr))
	}
	return found
}

// silenced adds what mends a claim.
func (s *Scene) silenced(f Finding, h *Host, server, vip netip.Addr) Finding {
	switch {
	case f.Code == ARPConflict && h == nil:
		return f.fixed(server.String(), silence)
	case f.Code == ARPConflict:
		return f.fixed(h.Name, silence)
	case h != nil && h.holds(vip) != nil:
		a := h.holds(vip)
		return f.fixed(h.Name, fmt.Sprintf("%s addr del %s dev %s", ip(vip), a.Prefix, a.Link))
	}
	return f.fixed("the host with that MAC address", fmt.Sprintf("%s addr del %s dev DEVICE", ip(vip), single(vip)))
}

// holder returns the host of a MAC address, if it is one of the scene's, and the real
// server's address that it has, if it is one.
func (s *Scene) holder(mac string) (h *Host, server netip.Addr) {
	for _, o := range s.Hosts {
		if slices.ContainsFunc(o.Links, func(l Link) bool { return l.MAC == mac }) && s.Lab != nil {
			h = o
		}
	}
	for _, t := range s.targets() {
		m, _ := s.director().known(t.server.Addr)
		if m == mac || h != nil && t.host == h {
			server = t.server.Addr
		}
	}
	return h, server
}

// checkOthers looks in a lab for nodes that have the virtual address and should not: of two
// directors one has it.
func checkOthers(s *Scene) (found []Finding) {
	for _, h := range s.directors() {
		for _, vip := range s.planned() {
			if a := h.holds(vip); a != nil && h != s.director() {
				found = append(found, find(VIPTaken, Error, h, fmt.Sprintf("%s and %s both have the virtual address %s", s.director().Name, h.Name, vip),
					fmt.Sprintf("%s has %s on %s", h.Name, a.Prefix, a.Link)).
					fixed(h.Name, fmt.Sprintf("%s addr del %s dev %s", ip(vip), a.Prefix, a.Link)))
			}
		}
	}
	for i := range s.nodes() {
		n := &s.Lab.Nodes[i]
		h := s.named(n.Name)
		if h == nil || n.Role == lab.Director || n.Role == lab.Real {
			continue
		}
		for _, vip := range s.virtuals() {
			if a := h.holds(vip); a != nil && !n.Has(vip) {
				found = append(found, find(VIPTaken, Error, h, fmt.Sprintf("%s has the virtual address %s too", n.Name, vip),
					fmt.Sprintf("%s has %s on %s", n.Name, a.Prefix, a.Link)).
					fixed(n.Name, fmt.Sprintf("%s addr del %s dev %s", ip(vip), a.Prefix, a.Link)))
			}
		}
	}
	return found
}

// planned are the virtual addresses of the lab, none outside.
func (s *Scene) planned() []netip.Addr {
	if s.Lab == nil {
		return nil
	}
	return s.Lab.VIPs()
}

// checkListeners looks whether a program listens where packets come to.
func checkListeners(s *Scene) (found []Finding) {
	done := map[string]bool{}
	for _, t := range s.targets() {
		if t.host == nil || t.host == s.director() || !t.at().Addr().IsValid() {
			continue
		}
		proto := strings.ToLower(t.service.Proto.String())
		reached, at := t.host.listens(proto, t.at().Addr(), t.at().Port())
		if reached || proto != "tcp" && proto != "udp" {
			continue
		}
		f := s.notListening(&t, proto, at)
		if !done[f.Code+f.Host] {
			done[f.Code+f.Host] = true
			found = append(found, f)
		}
	}
	return found
}

// inLab is a command about the services of a lab's node.
func (s *Scene) inLab(verb string, h *Host) Fix {
	return Fix{Command: "uvs lab " + verb + " " + h.Name + " --lab " + s.LabName}
}

// notListening tells what keeps packets from a listener.
func (s *Scene) notListening(t *target, proto string, at []Listener) Finding {
	h, where := t.host, t.at()
	var listed []string
	for _, l := range at {
		listed = append(listed, l.Addr.String())
	}
	evidence := fmt.Sprintf("%s listens by %s at: %s", h.Name, proto, strings.Join(listed, ", "))
	same := slices.IndexFunc(at, func(l Listener) bool { return l.Addr.Port() == where.Port() })
	restart := []Fix{s.inLab("kill", h), s.inLab("start", h)}
	switch {
	case same >= 0:
		f := find(ListensOnRIP, Error, h, fmt.Sprintf("%s does not listen on the virtual address", h.Name),
			fmt.Sprintf("%s listens at %s only, and packets come to %s", h.Name, at[same].Addr, where))
		f.Fix = restart
		return f
	case t.direct() && len(at) > 0:
		return find(PortMap, Error, s.director(), fmt.Sprintf("%s comes to port %d of the servers, where nobody listens", key(t.service), where.Port()),
			fmt.Sprintf("%s -r %s is by %s", key(t.service), t.server.AddrPort(), t.server.Method.Traits().Word), evidence).
			fixed(s.director().Name, "ipvsadm -D "+key(t.service))
	}
	if len(at) == 0 {
		evidence = fmt.Sprintf("%s listens at no %s port", h.Name, proto)
	}
	f := find(NoListener, Error, h, fmt.Sprintf("nobody listens at %s on %s", where, h.Name), evidence)
	f.Fix = restart[1:]
	return f
}

// checkDecap looks whether servers by a tunnel take the outer header off.
func checkDecap(s *Scene) (found []Finding) {
	done := map[string]bool{}
	for _, t := range s.targets() {
		h := t.host
		if h == nil || !t.server.Method.Encapsulates() || done[h.Name] {
			continue
		}
		done[h.Name] = true
		if !h.Decap {
			f := find(NoDecap, Error, h, fmt.Sprintf("nobody on %s takes packets out of the tunnel", h.Name),
				"no raw socket for IP in IP, no ipip interface that is up",
				fmt.Sprintf("%s has it as a server by tunnel", key(t.service)))
			f.Fix = []Fix{s.inLab("start", h)}
			found = append(found, f)
			continue
		}
		found = append(found, strictTunnels(h, t.service.Addr)...)
	}
	return found
}

// strictTunnels looks at rp_filter where inner packets come out of a tunnel.
func strictTunnels(h *Host, vip netip.Addr) []Finding {
	if !vip.Is4() {
		return nil
	}
	for _, l := range h.Links {
		tunnel := l.Loopback || l.Kind == "ipip" || l.Kind == "tuntap" || l.Kind == "tun" || strings.HasPrefix(l.Name, "tun")
		if !tunnel || h.conf(l.Name, "rp_filter") != 1 {
			continue
		}
		all, own := h.number("net.ipv4.conf.all.rp_filter"), h.number("net.ipv4.conf."+l.Name+".rp_filter")
		f := find(RPFilter, Error, h, fmt.Sprintf("%s drops what comes out of the tunnel", h.Name),
			fmt.Sprintf("net.ipv4.conf.all.rp_filter = %d, net.ipv4.conf.%s.rp_filter = %d; the larger counts", all, l.Name, own),
			"inner packets arrive by "+l.Name+", replies leave by another interface")
		return []Finding{f.fixed(h.Name, fmt.Sprintf("sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.%s.rp_filter=0", l.Name))}
	}
	return nil
}

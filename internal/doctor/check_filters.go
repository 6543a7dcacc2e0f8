package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uvs/lab"
)

func init() {
	checks = append(checks, checkFilters, checkTracking)
}

// checkFilters looks at the packet filters of each host for rules about the services.
func checkFilters(s *Scene) (found []Finding) {
	for _, h := range s.Hosts {
		for i := range h.Rules {
			if f, ok := s.filter(h, &h.Rules[i]); ok {
				found = append(found, f)
				break // one rule at a time: the next one shows when this one is gone
			}
		}
	}
	return found
}

// filter judges one rule.
func (s *Scene) filter(h *Host, r *FilterRule) (f Finding, found bool) {
	if s.role(h) == lab.Director {
		return s.directorRule(h, r)
	}
	for _, t := range s.targets() {
		proto := strings.ToLower(t.service.Proto.String())
		if t.host != h && t.host != nil && s.role(h) == lab.Real {
			continue // another server's filter
		}
		if r.Hook != "" && r.drops() && r.concerns(proto, t.addresses(), t.at().Port()) && !s.passes(h, r, &t) {
			return find(Firewall, Error, h, fmt.Sprintf("a packet filter on %s drops packets of %s", h.Name, key(t.service)),
				fmt.Sprintf("%s (hook %s): %s", r.Where, r.Hook, r.Text)).fixed(h.Name, r.Delete), true
		}
	}
	return f, false
}

// addresses are those that packets of a target have as destination.
func (t *target) addresses() []netip.Addr {
	return []netip.Addr{t.service.Addr, t.server.Addr}
}

// passes reports whether a chain whose policy is to drop has a rule that accepts the
// target's packets.
func (s *Scene) passes(h *Host, policy *FilterRule, t *target) bool {
	if policy.Text != "policy drop" {
		return false
	}
	return slices.ContainsFunc(h.Rules, func(r FilterRule) bool {
		accepts := strings.Contains(strings.ToLower(r.Text), "accept")
		return r.Where == policy.Where && accepts && r.concerns(strings.ToLower(t.service.Proto.String()), t.addresses(), t.at().Port())
	})
}

// directorRule judges a rule on the director, whose stack does not see what is forwarded.
func (s *Scene) directorRule(h *Host, r *FilterRule) (f Finding, found bool) {
	for _, t := range s.targets() {
		proto := strings.ToLower(t.service.Proto.String())
		a := t.addresses()
		switch {
		case r.Hook == "egress" && r.drops() && r.concerns(proto, a, t.at().Port()):
			f = find(Firewall, Error, h, fmt.Sprintf("an egress chain of the director drops packets of %s", key(t.service)))
		case r.Hook == "egress" || r.Hook == "ingress" || !r.names(proto, a, t.service.Port):
			continue
		case strings.Contains(strings.ToLower(r.Text), "synproxy") && t.direct():
			f = find(SynproxyDR, Error, h, fmt.Sprintf("a SYN proxy of the kernel is set before %s", key(t.service)))
		case strings.Contains(r.Text, "ct state") || strings.Contains(r.Text, "--ctstate"):
			if !t.direct() {
				continue
			}
			f = find(Conntrack, Warning, h, fmt.Sprintf("a rule judges packets of %s by the state of their connection", key(t.service)))
		case r.drops():
			f = find(FirewallUnseen, Warning, h, fmt.Sprintf("a rule about %s sees none of its packets", key(t.service)))
		default:
			continue
		}
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s (hook %s): %s", r.Where, r.Hook, r.Text))
		return f.fixed(h.Name, r.Delete), true
	}
	return f, false
}

// checkTracking looks at the kernel's table of connections.
func checkTracking(s *Scene) (found []Finding) {
	h := s.director()
	if h.Tracked.Max > 0 && h.Tracked.Count*10 > h.Tracked.Max*8 {
		found = append(found, find(Conntrack, Warning, h, "the kernel's table of connections is nearly full",
			fmt.Sprintf("nf_conntrack_count = %d of nf_conntrack_max = %d", h.Tracked.Count, h.Tracked.Max)).
			fixed(h.Name, fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", h.Tracked.Max*4)))
	}
	for _, t := range s.targets() {
		at := netip.AddrPortFrom(t.service.Addr, t.service.Port).String()
		const few = 8
		if n := h.Tracked.Halves[at]; t.direct() && n >= few {
			return append(found, find(Conntrack, Warning, h, fmt.Sprintf("the kernel tracks half of each connection to %s", at),
				fmt.Sprintf("%d entries to %s are in SYN_SENT [UNREPLIED]: /proc/net/nf_conntrack", n, at)).
				fixed(h.Name, fmt.Sprintf("nft add table inet notrack; nft 'add chain inet notrack pre { type filter hook prerouting priority raw; }'; nft add rule inet notrack pre %s daddr %s notrack", family(t.service.Addr), t.service.Addr)))
		}
	}
	return found
}

// family returns nft's word for the family of an address.
func family(a netip.Addr) string {
	if a.Is6() {
		return "ip6"
	}
	return "ip"
}

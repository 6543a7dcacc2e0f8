package plan

import (
	"net/netip"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/service"
)

// stance is what the role of a service means for one of its addresses now.
type stance struct {
	serves  bool // requests are the director's
	answers bool // and it answers for the address
}

// stance returns what a role means for an address on this host.
func (h *Host) stance(role config.VIPRole, a netip.Addr) stance {
	switch role.Or(h.VIPRole) {
	case config.VIPHost:
		here := h.LocalAddr(a)
		return stance{here, here}
	case config.VIPNone:
		return stance{serves: true}
	}
	return stance{true, true}
}

// follows reports whether the role of a service follows the host's addresses.
func (h *Host) follows(svc *config.Service) bool { return svc.VIPRole.Or(h.VIPRole) == config.VIPHost }

// stanceOf returns the stance of a service. That of a service by mark, which has no
// address, concerns its local addresses only: with VIPHost the director answers for those
// that the host has.
func (h *Host) stanceOf(svc *config.Service) stance {
	if svc.Mark == 0 {
		return h.stance(svc.VIPRole, svc.Addr)
	}
	here := !h.follows(svc)
	return stance{here, here}
}

// stanceOfRule returns the stance of the service whose mark a rule gives, for the address
// of the rule, and whether it follows the host. What is for a whole network is served as it
// comes.
func (p *Plan) stanceOfRule(r *service.MarkRule, h *Host) (s stance, follows bool) {
	svc := p.seen.Service(config.Key{Mark: r.Mark, Family: r.AF})
	if svc == nil || !r.Dst.IsSingleIP() {
		return stance{true, true}, false
	}
	return h.stance(svc.VIPRole, r.Dst.Addr()), h.follows(&svc.Service)
}

// Silent returns the virtual addresses that the director does not answer for although it
// has services on them, and whether they are left to others altogether.
func (p *Plan) Silent() map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	for _, kind := range []factKind{factSilent, factAway} {
		for _, f := range p.all(kind) {
			if !p.has(fact{kind: factAnswered, addr: f.addr}) {
				all[f.addr] = kind == factAway && !p.has(fact{kind: factVirtual, addr: f.addr})
			}
		}
	}
	return all
}

// Quiet returns the requests that the host's stack is not to refuse, whoever runs: those to
// services whose role follows the host's addresses.
func (p *Plan) Quiet() (endpoints []guard.Tuple, marks []guard.Match) {
	for i := range p.rules {
		if r := &p.rules[i]; r.Follows {
			marks = appendMatches(marks, r)
		}
	}
	return tuples(p.all(factQuiet)), marks
}

// Roles reports, of a service, whether the director answers for its address, or for one of
// those that have its mark, and whether it serves it.
func (p *Plan) Roles(svc *config.Service) (answers, serves bool) {
	if svc.Mark == 0 {
		left := p.has(fact{factLeft, uint8(svc.Proto), svc.Port, svc.Addr.Unmap()})
		return !left && p.Answers(svc.Addr.Unmap()), !left
	}
	for i := range p.rules {
		r := &p.rules[i]
		if r.Mark != svc.Mark || r.AF != svc.Key.Normal().Family || !r.Served {
			continue
		}
		serves = true
		answers = answers || r.Dst.IsSingleIP() && p.Answers(r.Dst.Addr().Unmap())
	}
	return answers, serves
}

// Leaving reports whether requests to some service are left to others.
func (s *View) Leaving() bool { return s.leaving }

// Leaves reports whether a request to the service with a key, a packet of the flow, is
// left to others.
func (s *View) Leaves(k *config.Key, f *frame.Flow) bool {
	if !s.leaving {
		return false
	}
	if k.Mark == 0 {
		_, left := s.left.get(endpoint{k.Addr.As16(), k.Port, uint8(k.Proto)})
		return left
	}
	for i := range s.marks {
		if r := &s.marks[i]; r.Matches(f) {
			return r.Left
		}
	}
	return false
}

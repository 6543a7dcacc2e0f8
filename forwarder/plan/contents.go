package plan

import (
	"fmt"
	"maps"
	"net/netip"
)

// Contents returns the whole plan, by subject, in a form that can be compared: a plan
// that followed changes must equal one built from scratch.
func (p *Plan) Contents() map[string]any {
	return map[string]any{
		"facts":        counts(p.count),
		"kinds":        p.of,
		"virtual":      contentsOf(&p.virtual.endpoints),
		"owned":        contentsOf(&p.owned.endpoints),
		"shared":       contentsOf(&p.shared.endpoints),
		"servers":      contentsOf(&p.servers.endpoints),
		"ipsec":        contentsOf(&p.ipsec.endpoints),
		"left":         contentsOf(&p.left.endpoints),
		"silent":       p.Silent(),
		"replies":      contentsOf(&p.replies.endpoints),
		"orphans":      maps.Clone(p.orphans),
		"locals":       contentsOf(&p.locals.endpoints),
		"old_locals":   maps.Clone(p.oldLocals),
		"flows":        len(p.serverFlows),
		"matches":      p.matches,
		"server_addrs": p.ServerAddrs(),
		"answered":     p.Answered(),
	}
}

func counts[K comparable](of map[K]int) map[string]int {
	all := make(map[string]int, len(of))
	for f, n := range of {
		all[fmt.Sprint(f)] = n
	}
	return all
}

func contentsOf[V any](e *endpoints[V]) map[string]V {
	all := map[string]V{}
	for _, m := range e.shard {
		for at, v := range m {
			all[fmt.Sprint(at)] = v
		}
	}
	return all
}

// Answers reports whether the director answers for an address.
func (p *Plan) Answers(a netip.Addr) bool { return p.has(fact{kind: factAnswered, addr: a}) }

// Expects reports whether replies of a real server come from an address and port.
func (p *Plan) Expects(proto uint8, from netip.AddrPort) bool {
	return p.has(fact{kind: factReply, proto: proto, addr: from.Addr(), port: from.Port()})
}

// Admits reports whether the filters admit requests to an address and port.
func (p *Plan) Admits(proto uint8, to netip.AddrPort) bool {
	return p.has(fact{kind: factAdmitted, proto: proto, addr: to.Addr(), port: to.Port()})
}

// Cost returns how many facts were counted, and filters built, since the plan was
// created.
func (p *Plan) Cost() (facts, filters int) { return p.work, p.ends.Built }

// SameFilters reports whether the filters of another plan are the same.
func (p *Plan) SameFilters(q *Plan) bool { return p.ends.Equal(q.ends) }

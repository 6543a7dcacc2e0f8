package forwarder

import (
	"net/netip"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/plan"
)

// leaves reports whether a packet of a client's connection is left to others, because the host has not the address and the role of the service asks for that. IPVS
// would not see it either: it takes what is delivered to the host (ip_vs_core.c,
// NF_INET_LOCAL_IN). The connections stay as they are.
func (w *worker) leaves(f *frame.Frame, c *conntrack.Conn) bool {
	if !w.conf.Leaving() {
		return false
	}
	s := w.fw.Server(c.Server)
	return s != nil && w.conf.Leaves(&s.Key, &f.Flow)
}

// VIPs returns for the addresses of which services the director answers, in the order the
// services were added.
func (fw *Forwarder) VIPs() []config.VIP {
	fw.planLock.Lock()
	defer fw.planLock.Unlock()
	p := fw.applied
	if p == nil {
		p = fw.newPlan()
	}
	all := []config.VIP{}
	for _, v := range fw.Services() {
		vip := config.VIP{Service: v.Key, Role: v.VIPRole.Or(fw.conf.VIPRole), Default: v.VIPRole == config.VIPDefault}
		vip.Answers, vip.Serves = p.Roles(&v.Service)
		all = append(all, vip)
	}
	return all
}

// logRoles logs for which virtual addresses the director has stopped or begun to answer
// because of their role. The caller holds planLock.
func (fw *Forwarder) logRoles(p *plan.Plan) {
	now := p.Silent()
	for a, left := range now {
		if was, known := fw.silent[a]; known && was == left {
			continue
		}
		if left {
			fw.log.Info("the host has not the address: it is left to others", "event", "vip-role", "address", a, "role", config.VIPHost, "answers", false)
		} else {
			fw.log.Info("serving the address without answering for it", "event", "vip-role", "address", a, "role", config.VIPNone, "answers", false)
		}
	}
	for a := range fw.silent {
		if _, still := now[a]; !still && p.Answers(a) {
			fw.log.Info("answering for the address", "event", "vip-role", "address", a, "role", fw.answeringRole(a), "answers", true)
		}
	}
	fw.silent = now
}

// answeringRole returns the role by which the director answers for an address.
func (fw *Forwarder) answeringRole(a netip.Addr) config.VIPRole {
	if fw.neigh.LocalAddr(a) {
		return config.VIPHost
	}
	return config.VIPAlways
}

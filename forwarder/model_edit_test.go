package forwarder

import (
	"net/netip"
	"slices"
)

// addServer adds a server, or takes back one that was removed.
func (m *model) addServer(svc *modelService, s modelServer) {
	at := slices.IndexFunc(svc.gone, func(x *modelServer) bool { return x.addr == s.addr })
	kept := &s
	if at >= 0 {
		kept = svc.gone[at]
		svc.gone = slices.Delete(svc.gone, at, at+1)
		s.overloaded = kept.overloaded
		*kept = s
	}
	kept.there = true
	m.weigh(kept)
	svc.servers = slices.Insert(svc.servers, 0, kept)
	if svc.last >= 0 {
		svc.last++
	}
}

func (m *model) deleteServer(svc *modelService, addr netip.AddrPort) {
	i := slices.IndexFunc(svc.servers, func(s *modelServer) bool { return s.addr == addr })
	s := svc.servers[i]
	s.there = false
	svc.gone = append(svc.gone, s)
	svc.servers = slices.Delete(svc.servers, i, i+1)
	if i <= svc.last {
		svc.last--
	}
	if m.set["expire_nodest_conn"] != 0 {
		m.expireServerless()
	}
}

// expireServerless ends the connections to servers that are gone, and what
// controlled them.
func (m *model) expireServerless() {
	for _, c := range slices.Clone(m.conns) {
		if !slices.Contains(m.conns, c) || c.server.there || c.controls > 0 {
			continue
		}
		m.remove(c)
		if ct := c.control; ct != nil && ct.controls == 0 && slices.Contains(m.conns, ct) {
			m.remove(ct)
		}
	}
}

func (m *model) editServer(svc *modelService, s modelServer) {
	for _, x := range svc.servers {
		if x.addr == s.addr {
			x.method, x.weight, x.upper, x.lower = s.method, s.weight, s.upper, s.lower
			m.weigh(x)
		}
	}
}

package plan

import (
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
)

// View is the configuration that workers need besides the services: which addresses and
// which replies the guard keeps from the host.
type View struct {
	virtuals    endpoints[struct{}]     // addresses of services
	owned       endpoints[struct{}]     // addresses of services and FULLNAT that are not the host's own
	shared      endpoints[struct{}]     // addresses of FULLNAT that are the host's own too
	locals      endpoints[struct{}]     // addresses of FULLNAT, answered for or not
	oldLocals   map[[16]byte]bool       // those that only connections use, and whether they are answered for
	servers     endpoints[struct{}]     // addresses of real servers whose replies come back
	ipsec       endpoints[struct{}]     // addresses of services that receive key exchanges, and so AH and ESP
	replies     endpoints[bool]         // sources of those replies, and whether such a server is configured; port 0 is any
	left        endpoints[struct{}]     // services whose requests are left to others
	serverFlows map[endpoint]ServerFlow // servers that send datagrams from there; nil: in no service do these start connections
	marks       []service.MarkRule      // the first that matches applies
	orphans     map[service.Orphan]bool // what connections still have, but no service any longer
	leaving     bool                    // requests to some service are left to others
}

// endpoint is one end of a flow, in the form a Flow holds it.
type endpoint struct {
	addr  [16]byte
	port  uint16
	proto uint8
}

// Owns reports whether the director answers for an address that is not the host's own.
func (s *View) Owns(a [16]byte) bool { return s.owned.has(a) }

// Virtual reports whether an address is that of a service.
func (s *View) Virtual(a [16]byte) bool { return s.virtuals.has(a) }

// Shares reports whether FULLNAT uses an address that is the host's own too.
func (s *View) Shares(a [16]byte) bool { return s.shared.has(a) }

// TakesIPsec reports whether a service on the address receives key exchanges, and so AH
// and ESP.
func (s *View) TakesIPsec(a [16]byte) bool { return s.ipsec.has(a) }

// Guarded reports whether the guard keeps a packet of this flow from the host
// because it looks like a reply of a real server.
func (s *View) Guarded(f *frame.Flow) bool {
	_, known := s.Replier(f)
	return known
}

// Replier looks up a packet's source among the sources of replies: whether it is a
// configured server, and whether it is a server at all, as a removed one is while it
// has connections.
func (s *View) Replier(f *frame.Flow) (configured, known bool) {
	e := endpoint{f.Src16(), f.SrcPort(), f.Proto()}
	if configured, known = s.replies.get(e); known {
		return configured, true
	}
	e.port = 0
	return s.replies.get(e)
}

// ServerFlow returns the real server that a datagram of this flow is from, if such
// datagrams start connections of its service.
func (s *View) ServerFlow(f *frame.Flow) (ServerFlow, bool) {
	if f.Proto() != frame.ProtoUDP || len(s.serverFlows) == 0 {
		return ServerFlow{}, false
	}
	c, ok := s.serverFlows[endpoint{f.Src16(), f.SrcPort(), frame.ProtoUDP}]
	return c, ok && c.Service.ServersBegin()
}

// Concerns reports whether a fragment of this flow, which has no ports, may
// belong to a service or to a reply.
func (s *View) Concerns(f *frame.Flow) bool {
	dst := f.Dst16()
	if s.virtuals.has(dst) || s.owned.has(dst) || s.servers.has(f.Src16()) {
		return true
	}
	for i := range s.marks {
		if r := &s.marks[i]; r.Served && r.Concerns(f) {
			return true
		}
	}
	return false
}

// Mark returns the firewall mark of a packet if a service has it, else 0.
func (s *View) Mark(f *frame.Flow) uint32 {
	for i := range s.marks {
		if r := &s.marks[i]; r.Matches(f) {
			if !r.Served {
				return 0
			}
			return r.Mark
		}
	}
	return 0
}

package forwarder

import (
	"net/netip"

	"uvs/forwarder/frame"
)

// settings is the configuration as workers need it beside the services: which
// addresses and which replies the guard keeps from the host.
type settings struct {
	virtual map[[16]byte]bool // addresses of services
	owned   map[[16]byte]bool // addresses of services and FULLNAT that the host has not itself
	servers map[[16]byte]bool // addresses of real servers whose replies come back
	replies map[endpoint]bool // sources of those replies; port 0 is any
	marks   []markRule
}

// endpoint is one end of a flow, in the form a Flow holds it.
type endpoint struct {
	addr  [16]byte
	port  uint16
	proto uint8
}

// markRule gives a firewall mark to packets, as `uvs mark` says.
type markRule struct {
	dst, src netip.Prefix
	proto    uint8
	min, max uint16 // destination ports; 0, 0 is any
	mark     uint32
}

// owns reports whether the director answers for an address that the host has
// not.
func (s *settings) owns(a [16]byte) bool { return s.owned[a] }

// serves reports whether an address is that of a service.
func (s *settings) serves(a [16]byte) bool { return s.virtual[a] }

// guarded reports whether the guard keeps a packet of this flow from the host
// because it looks like a reply of a real server.
func (s *settings) guarded(f *frame.Flow) bool {
	e := endpoint{f.Src16(), f.SrcPort(), f.Proto()}
	if s.replies[e] {
		return true
	}
	e.port = 0
	return s.replies[e]
}

// concerns reports whether a fragment of this flow, which has no ports, may
// belong to a service or to a reply.
func (s *settings) concerns(f *frame.Flow) bool {
	dst := f.Dst16()
	return s.virtual[dst] || s.owned[dst] || s.servers[f.Src16()]
}

// mark returns the firewall mark of a packet, 0 for none.
func (s *settings) mark(f *frame.Flow) uint32 {
	for i := range s.marks {
		if r := &s.marks[i]; r.matches(f) {
			return r.mark
		}
	}
	return 0
}

func (r *markRule) matches(f *frame.Flow) bool {
	return (r.proto == 0 || r.proto == f.Proto()) &&
		(r.max == 0 || f.DstPort() >= r.min && f.DstPort() <= r.max) &&
		(!r.dst.IsValid() || r.dst.Contains(f.Dst())) &&
		(!r.src.IsValid() || r.src.Contains(f.Src()))
}

package service

import (
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// MarkRule is a rule of `uvs mark` for one address family.
type MarkRule struct {
	config.MarkRule
	AF       config.Family
	Served   bool // there is a service for the mark, or connections of one that was
	Orphaned bool // the latter
	// What the role of the service means for the rule's address: to follow the host's, to
	// leave packets to others now, not to answer for it.
	Follows, Left, Silent bool
}

// Matches reports whether the rule gives a packet of this flow its mark.
func (r *MarkRule) Matches(f *frame.Flow) bool {
	return r.Concerns(f) && r.DstPorts.Contains(f.DstPort()) && r.SrcPorts.Contains(f.SrcPort())
}

// Concerns is Matches without the ports.
func (r *MarkRule) Concerns(f *frame.Flow) bool {
	return r.AF == familyOf(f) && r.carries(f.Proto()) &&
		(!r.Dst.IsValid() || r.Dst.Contains(f.Dst())) &&
		(!r.Src.IsValid() || r.Src.Contains(f.Src()))
}

// carries reports whether the rule is about a protocol.
func (r *MarkRule) carries(proto uint8) bool {
	if r.Proto != 0 {
		return uint8(r.Proto) == proto
	}
	return proto == frame.ProtoTCP || proto == frame.ProtoUDP || proto == frame.ProtoSCTP
}

// MarkProtos are the protocols a service by mark can have.
var MarkProtos = []config.Proto{config.TCP, config.UDP, config.SCTP}

// KeyExchange reports whether the rule is for the key exchanges of all clients.
func (r *MarkRule) KeyExchange() bool {
	return (r.Proto == 0 || r.Proto == config.UDP) && r.SrcPorts.Contains(frame.PortISAKMP) && r.DstPorts.Contains(frame.PortISAKMP) &&
		(!r.Src.IsValid() || r.Src.Bits() == 0)
}

// OnlyPort returns the destination port of a rule for a single one, else 0.
func (r *MarkRule) OnlyPort() uint16 {
	if r.DstPorts.First == r.DstPorts.Last {
		return r.DstPorts.First
	}
	return 0
}

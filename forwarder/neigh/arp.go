package neigh

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"

	"uvs/forwarder/frame"
)

// Offsets of an ARP message for IPv4 over Ethernet (RFC 826), counted from the Ethernet
// header, and its length.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+-------------------------------+-------------------------------+
//	|       hardware type (1)       |    protocol type (0x0800)     |
//	+---------------+---------------+-------------------------------+
//	| hw. length 6  | proto length 4|           operation           |
//	+---------------+---------------+-------------------------------+
//	|            sender hardware address, sender IP address         |
//	|            target hardware address, target IP address         |
//	+---------------------------------------------------------------+
const (
	arpKind      = frame.EthernetLen
	arpOp        = arpKind + 6
	arpSenderMAC = arpKind + 8
	arpSenderIP  = arpKind + 14
	arpTargetMAC = arpKind + 18
	arpTargetIP  = arpKind + 24
	arpEnd       = arpKind + 28

	shortest = 60 // of an Ethernet frame without its check sequence
)

const (
	opRequest = uint16(arp.OperationRequest)
	opReply   = uint16(arp.OperationReply)
)

var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arpHead is what precedes the operation in every message that we handle.
var arpHead = [6]byte{0, 1, 8, 0, 6, 4}

// Answer looks at an ARP message, a neighbour solicitation or a neighbour
// advertisement. A request for an owned address is turned into its reply in place: the
// verdict is Answered, and the frame is to be sent by its Egress, which is its Ingress.
// From everything else Answer learns what the Table needs, and returns Pass. A message
// that is not valid is DropARP or, for IPv6, DropMalformed. Other frames are Pass.
//
// As with the kernel's arp_filter, a request is ignored if the requesting host is
// directly connected to another of our links: that link replies if both see the
// request.
func (t *Table) Answer(f *frame.Frame) frame.Verdict {
	b := f.Bytes()
	if len(b) < frame.EthernetLen || f.Info.VLAN&0xfff != 0 {
		return frame.Pass
	}
	switch binary.BigEndian.Uint16(b[12:]) {
	case frame.EtherARP:
		return t.answerARP(f, b)
	case frame.EtherIPv6:
		return t.answerNDP(f, b)
	}
	return frame.Pass
}

func (t *Table) answerARP(f *frame.Frame, b []byte) frame.Verdict {
	if len(b) < arpEnd || [6]byte(b[arpKind:arpOp]) != arpHead {
		return frame.DropARP
	}
	op := binary.BigEndian.Uint16(b[arpOp:])
	if op != opRequest && op != opReply {
		return frame.Pass
	}
	mac := [6]byte(b[arpSenderMAC:arpSenderIP])
	if !unicast(mac) {
		return frame.DropARP
	}
	sender := netip.AddrFrom4([4]byte(b[arpSenderIP:arpTargetMAC]))
	target := netip.AddrFrom4([4]byte(b[arpTargetIP:arpEnd]))
	v := t.view.Load()
	l := v.links[f.Ingress]
	if l == nil || v.macs[mac] {
		return frame.Pass
	}
	if op == opReply && [6]byte(b[:6]) == l.MAC && t.asked.answers(l.Index, mac, sender) {
		return frame.Pass
	}
	if t.ownsAddr(sender) {
		t.reportClaim(observation{key: key{l.Index, sender}, mac: mac})
		return frame.Pass
	}
	if op == opRequest && t.ownsAddr(target) {
		if !l.accepts(b) || v.connectedElsewhere(sender, l) {
			t.claims.ignored.Add(1)
			return frame.Pass
		}
		t.claims.answered.Add(1)
		t.report(observation{key: key{l.Index, sender}, mac: mac, asks: true})
		return l.reply(f, b)
	}
	if !sender.IsUnspecified() {
		answer := op == opReply && [6]byte(b[:6]) == l.MAC
		t.report(observation{key: key{l.Index, sender}, mac: mac, answer: answer, override: true, moved: isGratuitous(b, op, sender, target)})
	}
	return frame.Pass
}

// isGratuitous reports whether a message announces its sender's own address: in reply
// form both hardware addresses are the sender's (arp.c, arp_is_garp).
func isGratuitous(b []byte, op uint16, sender, target netip.Addr) bool {
	switch {
	case sender != target:
		return false
	case op == opReply:
		return [6]byte(b[arpSenderMAC:]) == [6]byte(b[arpTargetMAC:])
	}
	return op == opRequest
}

// reply turns the request into its reply. Padding is rewritten, so that only the
// message itself is sent back.
func (l *link) reply(f *frame.Frame, b []byte) frame.Verdict {
	ingress := f.Ingress
	buf, start, _ := f.Buffer()
	n := min(len(b), shortest)
	f.Reset(buf, start, start+n, n)
	f.Ingress, f.Egress = ingress, ingress

	copy(b[0:6], b[arpSenderMAC:arpSenderIP])
	copy(b[6:12], l.MAC[:])
	binary.BigEndian.PutUint16(b[arpOp:], opReply)
	var target [4]byte
	copy(target[:], b[arpTargetIP:arpEnd])
	copy(b[arpTargetMAC:arpEnd], b[arpSenderMAC:arpTargetMAC])
	copy(b[arpSenderMAC:], l.MAC[:])
	copy(b[arpSenderIP:], target[:])
	clear(b[arpEnd:n])
	return frame.Answered
}

// accepts reports whether the frame is addressed to the link: to its own MAC address or
// to a group. A port in promiscuous mode receives others too.
func (l *link) accepts(b []byte) bool {
	return b[0]&1 != 0 || [6]byte(b[:6]) == l.MAC
}

// connectedElsewhere reports whether a is directly connected to a working link other
// than l.
func (v *view) connectedElsewhere(a netip.Addr, l *link) bool {
	if !a.IsValid() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
		return false
	}
	w := v.route(a)
	return w != nil && w.link != l.Index && !w.local && !w.gateway.IsValid() && v.links[w.link].carries()
}

// unicast reports whether mac can be the address of a host.
func unicast(mac [6]byte) bool { return mac[0]&1 == 0 && mac != [6]byte{} }

// ownsAddrAddr reports whether a is one of the director's own addresses.
func (t *Table) ownsAddr(a netip.Addr) bool {
	_, ok := t.owned.Load(a)
	return ok
}

// report passes an observation to Run if it concerns a known neighbour and is news, or
// one that asks for an owned address and so will be known. Under a flood some are lost;
// requests are repeated.
func (t *Table) report(s observation) {
	t.mu.RLock()
	n := t.neighbours[s.key]
	news := n != nil && (s.answer || n.mac != s.mac) || n == nil && s.asks
	t.mu.RUnlock()
	if !news {
		return
	}
	select {
	case t.learned <- s:
	default:
	}
}

// arpFrame builds a message with the target hardware address tha.
func arpFrame(l *link, to [6]byte, op arp.Operation, sender netip.Addr, tha [6]byte, target netip.Addr) frame.Frame {
	f := newFrame(shortest)
	f.Egress = l.Index
	b := f.Bytes()
	f.SetMACs(to[:], l.MAC[:])
	binary.BigEndian.PutUint16(b[12:], frame.EtherARP)
	p, err := arp.NewPacket(op, net.HardwareAddr(l.MAC[:]), sender, net.HardwareAddr(tha[:]), target)
	if err != nil {
		panic("neigh: ARP message for an address that is not IPv4: " + err.Error())
	}
	m, _ := p.MarshalBinary()
	copy(b[frame.EthernetLen:], m)
	return f
}

// arpRequest asks for the neighbour's MAC address, with an address of the link as
// sender, or as a probe (RFC 5227 section 1.1) if it has none.
func arpRequest(l *link, n *neighbour) frame.Frame {
	sender := l.source4(n.addr)
	if !sender.IsValid() {
		sender = netip.IPv4Unspecified()
	}
	to := n.mac
	if n.broadcasts() {
		to = broadcast
	}
	return arpFrame(l, to, arp.OperationRequest, sender, [6]byte{}, n.addr)
}

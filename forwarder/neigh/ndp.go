package neigh

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"

	"uvs/forwarder/frame"
)

// Offsets of neighbour solicitations and advertisements (RFC 4861 sections 4.3 and
// 4.4), counted from the Ethernet header. Neither has extension headers: ICMPv6
// directly follows IPv6, whose hop limit is 255.
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------+---------------+-------------------------------+
//	|  type 135/136 |    code 0     |            checksum           |
//	+---------------+---------------+-------------------------------+
//	|R|S|O|                  reserved                               |
//	+---------------------------------------------------------------+
//	|                   target address (16 bytes)                   |
//	+---------------+---------------+-------------------------------+
//	|  option type  |  length / 8   |   link-layer address, …       |
//	+---------------+---------------+-------------------------------+
const (
	ip6Length  = frame.EthernetLen + 4
	ip6Next    = frame.EthernetLen + 6
	ip6Limit   = frame.EthernetLen + 7
	ip6Src     = frame.EthernetLen + 8
	ip6Dst     = frame.EthernetLen + 24
	ndType     = frame.EthernetLen + 40
	ndCode     = ndType + 1
	ndChecksum = ndType + 2
	ndFlags    = ndType + 4
	ndTarget   = ndType + 8
	ndOptions  = ndType + 24
	ndOneOpt   = ndOptions + 8 // end of a message with a link-layer address

	typeSolicitation  = 135
	typeAdvertisement = 136
	optionSource      = byte(ndp.Source)
	optionTarget      = byte(ndp.Target)

	flagRouter    = 0x80
	flagSolicited = 0x40
	flagOverride  = 0x20
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = [6]byte{0x33, 0x33, 0, 0, 0, 1}
)

// solicitedNode returns the group to which hosts with the address a listen (RFC 4291
// section 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0xff, 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// groupMAC returns the Ethernet address of an IPv6 group (RFC 2464 section 7).
func groupMAC(a netip.Addr) [6]byte {
	b := a.As16()
	return [6]byte{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// discovery holds the contents of a valid message.
type discovery struct {
	kind     byte
	flags    byte
	src, dst netip.Addr
	target   netip.Addr
	mac      [6]byte // of the option, zero if there is none
}

// answerNDP is Answer for IPv6.
func (t *Table) answerNDP(f *frame.Frame, b []byte) frame.Verdict {
	if len(b) < ndOptions || b[ip6Next] != frame.ProtoICMPv6 ||
		b[ndType] != typeSolicitation && b[ndType] != typeAdvertisement {
		return frame.Pass
	}
	end := ndType + int(binary.BigEndian.Uint16(b[ip6Length:]))
	if end > len(b) || end < ndOptions {
		return frame.DropMalformed
	}
	d, ok := readDiscovery(b[:end], &f.Offload)
	if !ok {
		return frame.DropMalformed
	}
	v := t.view.Load()
	l := v.links[f.Ingress]
	if l == nil || v.macs[[6]byte(b[6:12])] {
		return frame.Pass
	}
	if d.kind == typeSolicitation {
		return t.answerSolicitation(f, b, &d, v, l)
	}
	if t.ownsAddr(d.target) {
		t.reportClaim(observation{key: key{l.Index, d.target}, mac: d.mac})
	} else if unicast(d.mac) {
		t.report(observation{key: key{l.Index, d.target}, mac: d.mac,
			answer: d.flags&flagSolicited != 0, override: d.flags&flagOverride != 0, moved: true})
	}
	return frame.Pass
}

func (t *Table) answerSolicitation(f *frame.Frame, b []byte, d *discovery, v *view, l *link) frame.Verdict {
	if !t.ownsAddr(d.target) {
		if unicast(d.mac) {
			t.report(observation{key: key{l.Index, d.src}, mac: d.mac, override: true, moved: true})
		}
		return frame.Pass
	}
	if !l.accepts(b) || v.connectedElsewhere(d.src, l) {
		return frame.Pass
	}
	if unicast(d.mac) {
		t.report(observation{key: key{l.Index, d.src}, mac: d.mac, asks: true})
	}
	return l.advertise(f, d, v.forwarding6)
}

// readDiscovery makes the checks of RFC 4861 sections 7.1.1 and 7.1.2 on a
// message whose fixed part is complete.
func readDiscovery(b []byte, o *frame.Offload) (d discovery, ok bool) {
	d = discovery{
		kind:   b[ndType],
		flags:  b[ndFlags],
		src:    netip.AddrFrom16([16]byte(b[ip6Src:ip6Dst])),
		dst:    netip.AddrFrom16([16]byte(b[ip6Dst:ndType])),
		target: netip.AddrFrom16([16]byte(b[ndTarget:ndOptions])),
	}
	want := optionSource
	if d.kind == typeAdvertisement {
		want = optionTarget
	}
	for rest := b[ndOptions:]; len(rest) > 0; {
		if len(rest) < 8 || rest[1] == 0 || len(rest) < 8*int(rest[1]) {
			return d, false
		}
		if rest[0] == want && rest[1] == 1 {
			d.mac = [6]byte(rest[2:8])
		}
		rest = rest[8*int(rest[1]):]
	}
	switch {
	case b[ip6Limit] != 255 || b[ndCode] != 0 || d.target.IsMulticast() || d.src.IsMulticast():
		return d, false
	case d.kind == typeAdvertisement && d.dst.IsMulticast() && d.flags&flagSolicited != 0:
		return d, false
	case d.kind == typeSolicitation && d.src.IsUnspecified() &&
		(d.dst != solicitedNode(d.target) || d.mac != [6]byte{}):
		return d, false
	}
	return d, o.Partial() || o.Flags&frame.OffloadValid != 0 || sum6(b) == 0xffff
}

// sum6 returns the sum of the ICMPv6 message and its pseudo-header.
func sum6(b []byte) uint16 {
	m := b[ndType:]
	return frame.Fold(frame.Sum(m, frame.PseudoSum(b[ip6Src:ip6Dst], b[ip6Dst:ndType], frame.ProtoICMPv6, len(m))))
}

// advertise turns the solicitation into the advertisement that answers it. A host that
// asks without an address of its own is answered at the all-nodes group (RFC 4861
// section 7.2.4).
func (l *link) advertise(f *frame.Frame, d *discovery, router bool) frame.Verdict {
	to, dst, flags := d.mac, d.src, byte(flagSolicited|flagOverride)
	if to == [6]byte{} {
		to = [6]byte(f.Bytes()[6:12])
	}
	if d.src.IsUnspecified() {
		to, dst, flags = allNodesMAC, allNodes, flagOverride
	}
	if router {
		flags |= flagRouter
	}
	ingress := f.Ingress
	buf, start, _ := f.Buffer()
	if len(buf)-start < ndOneOpt {
		if start = len(buf) - ndOneOpt; start < 0 {
			return frame.DropNoMemory
		}
	}
	f.Reset(buf, start, start+ndOneOpt, ndOneOpt)
	f.Ingress, f.Egress = ingress, ingress

	b := f.Bytes()
	f.SetMACs(to[:], l.MAC[:])
	binary.BigEndian.PutUint16(b[12:], frame.EtherIPv6)
	copy(b[frame.EthernetLen:], []byte{0x60, 0, 0, 0, 0, ndOneOpt - ndType, frame.ProtoICMPv6, 255})
	source, group := d.target.As16(), dst.As16()
	copy(b[ip6Src:], source[:])
	copy(b[ip6Dst:], group[:])
	copy(b[ndType:], []byte{typeAdvertisement, 0, 0, 0, flags, 0, 0, 0})
	copy(b[ndTarget:], source[:])
	b[ndOptions], b[ndOptions+1] = optionTarget, 1
	copy(b[ndOptions+2:], l.MAC[:])
	binary.BigEndian.PutUint16(b[ndChecksum:], ^sum6(b))
	return frame.Answered
}

// ndpFrame builds the frame of a message.
func ndpFrame(l *link, to [6]byte, src, dst netip.Addr, m ndp.Message) frame.Frame {
	body, err := ndp.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		panic("neigh: NDP message: " + err.Error())
	}
	f := newFrame(ndType + len(body))
	f.Egress = l.Index
	f.SetMACs(to[:], l.MAC[:])
	b := f.Bytes()
	binary.BigEndian.PutUint16(b[12:], frame.EtherIPv6)
	copy(b[frame.EthernetLen:], []byte{0x60, 0, 0, 0, 0, byte(len(body)), frame.ProtoICMPv6, 255})
	copy(b[ip6Src:], src.AsSlice())
	copy(b[ip6Dst:], dst.AsSlice())
	copy(b[ndType:], body)
	return f
}

// solicitation asks for the neighbour's MAC address, from an address of the
// link or, if it has none, from the unspecified one.
func solicitation(l *link, n *neighbour) frame.Frame {
	src := l.source6(n.addr)
	if !src.IsValid() {
		src = l.source6(netip.MustParseAddr("fe80::"))
	}
	m := &ndp.NeighborSolicitation{TargetAddress: n.addr}
	if src.IsValid() {
		m.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr(l.MAC[:])}}
	} else {
		src = netip.IPv6Unspecified()
	}
	if !n.broadcasts() && !src.IsUnspecified() {
		return ndpFrame(l, n.mac, src, n.addr, m)
	}
	group := solicitedNode(n.addr)
	return ndpFrame(l, groupMAC(group), src, group, m)
}

// advertisement announces an owned address to all nodes (RFC 4861 section
// 7.2.6).
func advertisement(l *link, a netip.Addr, router bool) frame.Frame {
	return ndpFrame(l, allNodesMAC, a, allNodes, &ndp.NeighborAdvertisement{
		Router: router, Override: true, TargetAddress: a,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: net.HardwareAddr(l.MAC[:])}},
	})
}

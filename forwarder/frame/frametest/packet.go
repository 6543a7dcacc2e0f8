package frametest

import (
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Packet describes a packet of the usual form: perhaps an Ethernet header, an IP header
// without options, one transport layer, and data.
type Packet struct {
	SrcMAC, DstMAC [6]byte // both zero: there is no Ethernet header
	Src, Dst       string  // "10.2.0.1:80", "[fd00:2::1]:80", or without a port
	TTL, TOS       uint8   // TTL 0: 64
	ID             uint16  // of IPv4
	DF             bool
	MoreFragments  bool // IPv4
	Offset         int  // IPv4: of a fragment, in bytes
	// Transport is what follows the IP header: its ports are set, as is the
	// IP header's protocol. If it is nil the data follows, of the protocol Proto.
	Transport gopacket.SerializableLayer
	Proto     layers.IPProtocol
	Data      string
	NoSum     bool // no checksum but that of the IPv4 header is computed
}

// TCP returns a TCP header with the flags of its last byte (RFC 9293 section 3.1).
func TCP(flags uint8, seq, ack uint32) *layers.TCP {
	on := func(bit uint) bool { return flags>>bit&1 != 0 }
	return &layers.TCP{Seq: seq, Ack: ack, Window: 4096,
		FIN: on(0), SYN: on(1), RST: on(2), PSH: on(3), ACK: on(4), URG: on(5), ECE: on(6), CWR: on(7)}
}

// Bytes returns the packet. It panics if it cannot be built.
func (p Packet) Bytes() []byte {
	src, dst := end(p.Src), end(p.Dst)
	proto := p.Proto
	switch l := p.Transport.(type) {
	case *layers.TCP:
		proto, l.SrcPort, l.DstPort = layers.IPProtocolTCP, layers.TCPPort(src.Port()), layers.TCPPort(dst.Port())
	case *layers.UDP:
		proto, l.SrcPort, l.DstPort = layers.IPProtocolUDP, layers.UDPPort(src.Port()), layers.UDPPort(dst.Port())
	case *layers.SCTP:
		proto, l.SrcPort, l.DstPort = layers.IPProtocolSCTP, layers.SCTPPort(src.Port()), layers.SCTPPort(dst.Port())
	case *layers.ICMPv4:
		proto = layers.IPProtocolICMPv4
	case *layers.ICMPv6:
		proto = layers.IPProtocolICMPv6
	}
	var ls []gopacket.SerializableLayer
	if p.SrcMAC != [6]byte{} || p.DstMAC != [6]byte{} {
		ls = append(ls, &layers.Ethernet{SrcMAC: p.SrcMAC[:], DstMAC: p.DstMAC[:], EthernetType: etherType(src.Addr())})
	}
	ls = append(ls, p.ip(src.Addr(), dst.Addr(), proto))
	data := gopacket.Payload(p.Data)
	switch {
	case p.Transport == nil:
		ls = append(ls, data)
	case p.NoSum:
		ls = append(ls, gopacket.Payload(must(serialize(false, p.Transport, data))))
	default:
		ls = append(ls, p.Transport, data)
	}
	return must(serialize(true, ls...))
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func (p Packet) ip(src, dst netip.Addr, proto layers.IPProtocol) gopacket.SerializableLayer {
	ttl := p.TTL
	if ttl == 0 {
		ttl = 64
	}
	if src.Is6() {
		return &layers.IPv6{Version: 6, HopLimit: ttl, TrafficClass: p.TOS, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	ip := &layers.IPv4{Version: 4, TTL: ttl, TOS: p.TOS, Id: p.ID, FragOffset: uint16(p.Offset / 8), Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if p.DF {
		ip.Flags |= layers.IPv4DontFragment
	}
	if p.MoreFragments {
		ip.Flags |= layers.IPv4MoreFragments
	}
	return ip
}

func etherType(a netip.Addr) layers.EthernetType {
	if a.Is6() {
		return layers.EthernetTypeIPv6
	}
	return layers.EthernetTypeIPv4
}

// end reads an address with or without a port.
func end(s string) netip.AddrPort {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 0)
	}
	return netip.MustParseAddrPort(s)
}

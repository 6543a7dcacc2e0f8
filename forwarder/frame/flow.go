package frame

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// IP protocol numbers the director knows by name (IANA protocol numbers).
const (
	ProtoICMP   = 1
	ProtoIPIP   = 4
	ProtoTCP    = 6
	ProtoUDP    = 17
	ProtoIPv6   = 41
	ProtoGRE    = 47
	ProtoESP    = 50
	ProtoAH     = 51
	ProtoICMPv6 = 58
	ProtoSCTP   = 132
)

// PortISAKMP is the UDP port of IPsec's key exchange (RFC 7296 section 2).
const PortISAKMP = 500

// Flow is the five-tuple of a packet in wire order: source address, destination
// address (16 bytes each, IPv4 as ::ffff:a.b.c.d), source port, destination
// port, protocol. It holds no pointer, is comparable, and can be the key of a
// map. Protocols without ports have both ports 0.
type Flow [37]byte

const (
	flowSrc     = 0
	flowDst     = 16
	flowSrcPort = 32
	flowDstPort = 34
	flowProto   = 36
)

// FlowOf builds a Flow from its parts.
func FlowOf(proto uint8, src, dst netip.AddrPort) Flow {
	var f Flow
	f.SetSrc(src.Addr())
	f.SetDst(dst.Addr())
	f.SetPorts(src.Port(), dst.Port())
	f[flowProto] = proto
	return f
}

// MakeFlow builds a Flow from addresses in the form the Flow holds them, and
// ports in host order.
func MakeFlow(proto uint8, src, dst *[16]byte, srcPort, dstPort uint16) Flow {
	var f Flow
	copy(f[flowSrc:], src[:])
	copy(f[flowDst:], dst[:])
	f.SetPorts(srcPort, dstPort)
	f[flowProto] = proto
	return f
}

// Src returns the source address; an IPv4 address is not in its mapped form.
func (f *Flow) Src() netip.Addr {
	return netip.AddrFrom16([16]byte(f[flowSrc : flowSrc+16])).Unmap()
}

// Dst returns the destination address; an IPv4 address is not in its mapped form.
func (f *Flow) Dst() netip.Addr {
	return netip.AddrFrom16([16]byte(f[flowDst : flowDst+16])).Unmap()
}

// Src16 returns the source address in the form the Flow holds it.
func (f *Flow) Src16() [16]byte { return [16]byte(f[flowSrc : flowSrc+16]) }

// Dst16 returns the destination address in the form the Flow holds it.
func (f *Flow) Dst16() [16]byte { return [16]byte(f[flowDst : flowDst+16]) }

// MatchAddrs reports whether the flow goes from src to dst, addresses in the
// form the Flow holds them.
func (f *Flow) MatchAddrs(src, dst *[16]byte) bool {
	return *(*[16]byte)(f[flowSrc:]) == *src && *(*[16]byte)(f[flowDst:]) == *dst
}

// SetSrc replaces the source address.
func (f *Flow) SetSrc(a netip.Addr) {
	b := a.As16()
	copy(f[flowSrc:], b[:])
}

// SetDst replaces the destination address.
func (f *Flow) SetDst(a netip.Addr) {
	b := a.As16()
	copy(f[flowDst:], b[:])
}

// SrcPort returns the source port in host order.
func (f *Flow) SrcPort() uint16 { return binary.BigEndian.Uint16(f[flowSrcPort:]) }

// DstPort returns the destination port in host order.
func (f *Flow) DstPort() uint16 { return binary.BigEndian.Uint16(f[flowDstPort:]) }

// SetPorts replaces both ports, given in host order.
func (f *Flow) SetPorts(src, dst uint16) {
	binary.BigEndian.PutUint16(f[flowSrcPort:], src)
	binary.BigEndian.PutUint16(f[flowDstPort:], dst)
}

// Proto returns the IP protocol number.
func (f *Flow) Proto() uint8 { return f[flowProto] }

// SetProto replaces the IP protocol number.
func (f *Flow) SetProto(p uint8) { f[flowProto] = p }

// Is4 reports whether the addresses are IPv4.
func (f *Flow) Is4() bool {
	return binary.LittleEndian.Uint64(f[flowDst:]) == 0 &&
		binary.LittleEndian.Uint32(f[flowDst+8:]) == 0xffff0000
}

// Source returns the source address and port.
func (f *Flow) Source() netip.AddrPort { return netip.AddrPortFrom(f.Src(), f.SrcPort()) }

// Destination returns the destination address and port.
func (f *Flow) Destination() netip.AddrPort { return netip.AddrPortFrom(f.Dst(), f.DstPort()) }

// Reverse returns the flow of a reply: source and destination exchanged.
func (f *Flow) Reverse() Flow {
	var r Flow
	copy(r[flowSrc:], f[flowDst:flowDst+16])
	copy(r[flowDst:], f[flowSrc:flowSrc+16])
	copy(r[flowSrcPort:], f[flowDstPort:flowDstPort+2])
	copy(r[flowDstPort:], f[flowSrcPort:flowSrcPort+2])
	r[flowProto] = f[flowProto]
	return r
}

// Hash mixes the flow with a seed into 64 bits. With a secret seed an outsider
// cannot choose flows that collide cheaply; it is not a cryptographic hash.
// The mixing step is the folded 64×64→128 bit product of wyhash (Wang Yi, 2019).
func (f *Flow) Hash(seed uint64) uint64 {
	const (
		k0 = 0xa0761d6478bd642f
		k1 = 0xe7037ed1a0b428db
		k2 = 0x8ebc6af09c88c6e3
	)
	tail := uint64(binary.LittleEndian.Uint32(f[flowSrcPort:])) | uint64(f[flowProto])<<32
	h := mix(binary.LittleEndian.Uint64(f[0:])^k0, binary.LittleEndian.Uint64(f[8:])^seed)
	h ^= mix(binary.LittleEndian.Uint64(f[16:])^k1, binary.LittleEndian.Uint64(f[24:])^seed^k2)
	return mix(h^tail, seed^k1)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// String writes the flow as "tcp 10.0.0.9:1025 > 10.0.0.1:80".
func (f *Flow) String() string {
	return ProtoName(f.Proto()) + " " + f.Source().String() + " > " + f.Destination().String()
}

// ProtoName returns the lower-case name of an IP protocol, or its number.
func ProtoName(p uint8) string {
	switch p {
	case ProtoICMP:
		return "icmp"
	case ProtoIPIP:
		return "ipip"
	case ProtoTCP:
		return "tcp"
	case ProtoUDP:
		return "udp"
	case ProtoIPv6:
		return "ipv6"
	case ProtoGRE:
		return "gre"
	case ProtoESP:
		return "esp"
	case ProtoAH:
		return "ah"
	case ProtoICMPv6:
		return "icmp6"
	case ProtoSCTP:
		return "sctp"
	}
	return "proto" + itoa(p)
}

func itoa(p uint8) string {
	var b [3]byte
	i := len(b)
	for {
		i--
		b[i] = '0' + p%10
		if p /= 10; p == 0 {
			return string(b[i:])
		}
	}
}

package forwarder

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

// packet builds an Ethernet frame for the director's MAC address on a link.
func packet(t testing.TB, link int, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	dst, src := clientLink.MAC, [6]byte{2, 0, 0, 2, 0, 1}
	if link == 2 {
		dst, src = serverLink.MAC, [6]byte{2, 0, 0, 1, 0, 1}
	}
	e := &layers.Ethernet{DstMAC: dst[:], SrcMAC: src[:], EthernetType: layers.EthernetTypeIPv4}
	if _, v6 := ls[0].(*layers.IPv6); v6 {
		e.EthernetType = layers.EthernetTypeIPv6
	}
	return frametest.Build(t, append([]gopacket.SerializableLayer{e}, ls...)...)
}

// seg is a TCP segment over IPv4.
func seg(t testing.TB, link int, src, dst string, flags uint8, data string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: layers.IPProtocolTCP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	tcp := &layers.TCP{SrcPort: layers.TCPPort(s.Port()), DstPort: layers.TCPPort(d.Port()), Seq: 1000, Ack: 5001, Window: 4096,
		SYN: flags&frame.FlagSYN != 0, ACK: flags&frame.FlagACK != 0, FIN: flags&frame.FlagFIN != 0, RST: flags&frame.FlagRST != 0, PSH: flags&frame.FlagPSH != 0}
	return packet(t, link, ip, tcp, gopacket.Payload(data))
}

// dgram is a UDP datagram over IPv4.
func dgram(t testing.TB, link int, src, dst, data string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: layers.IPProtocolUDP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	udp := &layers.UDP{SrcPort: layers.UDPPort(s.Port()), DstPort: layers.UDPPort(d.Port())}
	return packet(t, link, ip, udp, gopacket.Payload(data))
}

// judge describes a frame in words that gopacket reads from it, and fails if
// any checksum in it is wrong.
func judge(t testing.TB, b []byte) string {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var words []string
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			words = append(words, l.DstMAC.String())
		case *layers.IPv4:
			if frame.Checksum(l.Contents) != 0 {
				t.Errorf("IPv4 header checksum is wrong in %x", b)
			}
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.IPv6:
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.TCP:
			words = append(words, fmt.Sprintf("tcp %d>%d", l.SrcPort, l.DstPort))
		case *layers.UDP:
			words = append(words, fmt.Sprintf("udp %d>%d", l.SrcPort, l.DstPort))
		case *layers.ICMPv4:
			words = append(words, l.TypeCode.String())
		case gopacket.ErrorLayer:
			if !strings.Contains(strings.Join(words, " "), "Unreachable") {
				t.Errorf("gopacket: %v", l.Error())
			}
		}
	}
	if err := transportSum(p); err != "" {
		t.Error(err)
	}
	return strings.Join(words, " ")
}

// transportSum recomputes the transport checksum of the outermost IP packet.
func transportSum(p gopacket.Packet) string {
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	if !ok || ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset != 0 {
		return ""
	}
	if ip.Protocol != layers.IPProtocolTCP && ip.Protocol != layers.IPProtocolUDP {
		return ""
	}
	if ip.Protocol == layers.IPProtocolUDP && binary.BigEndian.Uint16(ip.Payload[6:]) == 0 {
		return ""
	}
	sum := frame.PseudoSum(ip.SrcIP, ip.DstIP, uint8(ip.Protocol), len(ip.Payload))
	if frame.Fold(frame.Sum(ip.Payload, sum)) != 0xffff {
		return "transport checksum is wrong"
	}
	return ""
}

func inFull(t testing.TB, b []byte) string {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var words []string
	for _, l := range p.Layers() {
		switch l := l.(type) {
		case *layers.IPv4:
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.IPv6:
			words = append(words, l.SrcIP.String()+">"+l.DstIP.String())
		case *layers.TCP:
			words = append(words, fmt.Sprintf("tcp %d>%d %s seq %d ack %d", l.SrcPort, l.DstPort, flagsOf(l), l.Seq, l.Ack))
		case *layers.UDP:
			words = append(words, fmt.Sprintf("udp %d>%d", l.SrcPort, l.DstPort))
		case *layers.SCTP:
			words = append(words, fmt.Sprintf("sctp %d>%d tag %d", l.SrcPort, l.DstPort, l.VerificationTag))
		case *layers.SCTPError:
			words = append(words, fmt.Sprintf("%s flags %d", l.Type, l.Flags))
		case *layers.ICMPv4:
			words = append(words, l.TypeCode.String())
		case *layers.ICMPv6:
			words = append(words, l.TypeCode.String())
		}
	}
	if err := frametest.Check(b, layers.LayerTypeEthernet); err != nil {
		t.Errorf("%s: %v", strings.Join(words, " "), err)
	}
	return strings.Join(words, " ")
}

func flagsOf(l *layers.TCP) string {
	var flags uint8
	for bit, set := range map[uint8]bool{frame.FlagSYN: l.SYN, frame.FlagRST: l.RST, frame.FlagACK: l.ACK, frame.FlagFIN: l.FIN, frame.FlagPSH: l.PSH} {
		if set {
			flags |= bit
		}
	}
	return flagNames(flags)
}

// at is a segment of one end of a connection with its numbers.
func at(t testing.TB, link int, src, dst string, flags uint8, seq, ackn uint32, data string) []byte {
	s, d := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	tcp := &layers.TCP{SrcPort: layers.TCPPort(s.Port()), DstPort: layers.TCPPort(d.Port()), Seq: seq, Ack: ackn, Window: 4096,
		SYN: flags&frame.FlagSYN != 0, ACK: flags&frame.FlagACK != 0, FIN: flags&frame.FlagFIN != 0, RST: flags&frame.FlagRST != 0}
	if s.Addr().Is6() {
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
		return packet(t, link, ip, tcp, gopacket.Payload(data))
	}
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: 1, Protocol: layers.IPProtocolTCP, SrcIP: s.Addr().AsSlice(), DstIP: d.Addr().AsSlice()}
	return packet(t, link, ip, tcp, gopacket.Payload(data))
}

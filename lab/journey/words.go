package journey

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
)

// words tells what a parsed packet is, with more than the director's own words: what ARP and
// ICMP say, and how the data of TCP begins.
func words(f *frame.Frame) string {
	text := f.Words()
	switch {
	case f.Info.EtherType == frame.EtherARP:
		return arpWords(f.Bytes()[frame.EthernetLen:], text)
	case !f.Is4() && !f.Is6() || f.Info.Fragment:
		return text
	case f.Info.Proto == frame.ProtoICMP && len(f.L4()) >= 2:
		return text + " " + layers.CreateICMPv4TypeCode(f.L4()[0], f.L4()[1]).String()
	case f.Info.Proto == frame.ProtoICMPv6 && len(f.L4()) >= 2:
		return text + " " + icmp6Words(f.L4())
	case f.Info.Proto == frame.ProtoTCP && f.Info.HasPorts:
		return text + data(f.L4()[int(f.L4()[12]>>4)*4:])
	case f.Info.Proto == frame.ProtoUDP && f.Info.HasPorts:
		return fmt.Sprintf("%s %d B", text, len(f.L4())-8)
	}
	return text
}

// arpWords tells what an ARP packet for IPv4 over Ethernet says (RFC 826).
func arpWords(b []byte, otherwise string) string {
	if len(b) < 28 || b[4] != 6 || b[5] != 4 {
		return otherwise
	}
	sender, target := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
	switch {
	case b[7] == 2:
		return fmt.Sprintf("arp %s is at %s", sender, net.HardwareAddr(b[8:14]))
	case sender == target:
		return fmt.Sprintf("arp %s is at %s, for all to know", sender, net.HardwareAddr(b[8:14]))
	case sender.IsUnspecified():
		return fmt.Sprintf("arp who has %s?", target)
	}
	return fmt.Sprintf("arp who has %s? says %s", target, sender)
}

func icmp6Words(l4 []byte) string {
	text := layers.CreateICMPv6TypeCode(l4[0], l4[1]).String()
	if (l4[0] == 135 || l4[0] == 136) && len(l4) >= 24 { // the target of neighbour discovery
		text += " " + netip.AddrFrom16([16]byte(l4[8:24])).String()
	}
	return text
}

// neighbours reports whether a packet only looks for neighbours or groups.
func neighbours(f *frame.Frame) bool {
	if f.Info.EtherType == frame.EtherARP {
		return true
	}
	if !f.Is6() || f.Info.Proto != frame.ProtoICMPv6 || f.Info.Fragment || len(f.L4()) == 0 {
		return false
	}
	kind := f.L4()[0]
	return kind >= 130 && kind <= 137 || kind == 143
}

// longest is how much is shown of a line of data, in bytes.
const longest = 40

// data tells the length of the data of TCP and its first line, if that is readable.
func data(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	line, _, _ := strings.Cut(string(b[:min(len(b), longest)]), "\n")
	line = strings.TrimSuffix(line, "\r")
	for i := range len(line) {
		if line[i] < ' ' || line[i] > '~' {
			return fmt.Sprintf(" %d B", len(b))
		}
	}
	if line == "" {
		return fmt.Sprintf(" %d B", len(b))
	}
	return fmt.Sprintf(" %d B %q", len(b), line)
}

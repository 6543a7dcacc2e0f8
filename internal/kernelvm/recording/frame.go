package recording

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

// flags are the letters of TCP flags in recordings, from the lowest bit up.
const flags = "FSRPAUEC"

// packet is a TCP segment, or a UDP datagram with "u" as its proto.
type packet struct {
	src, dst netip.AddrPort
	proto    string // "t" or "u", as of ipvsadm
	flags    string // letters of the constant flags
	seq, ack uint32
	data     string
}

// sent are the frames that the director sent after receiving one.
type sent struct{ toClients, toServers [][]byte }

// fromClient delivers a packet from a client to the director.
func (b *testbed) fromClient(p packet) (sent, error) {
	return b.deliver(b.clients, frameOf(b.build(p), clientsMAC, routerMAC))
}

// fromServer delivers a packet from a real server, whose number is the last byte of its
// address.
func (b *testbed) fromServer(p packet) (sent, error) {
	addr := p.src.Addr().AsSlice()
	return b.deliver(b.servers, frameOf(b.build(p), serversMAC, macOf(addr[len(addr)-1])))
}

// macOf returns the MAC address of a real server by its number.
func macOf(number byte) []byte { return append(slices.Clone(serverMAC[:5]), number) }

// deliver writes a frame to the director's device and returns what it sent.
func (b *testbed) deliver(t *tap, frame []byte) (s sent, err error) {
	if err := t.write(frame); err != nil {
		return s, err
	}
	if s.toClients, err = b.clients.read(); err != nil {
		return s, err
	}
	s.toServers, err = b.servers.read()
	return s, err
}

// build builds the IP packet.
func (b *testbed) build(p packet) []byte {
	out := frametest.Packet{Src: p.src.String(), Dst: p.dst.String(), Transport: &layers.UDP{}, Data: p.data}
	if p.src.Addr().Is4() {
		*b.ident++
		out.ID = *b.ident
	}
	if p.proto != "u" {
		var set uint8
		for i, c := range flags {
			if strings.ContainsRune(p.flags, c) {
				set |= 1 << i
			}
		}
		tcp := frametest.TCP(set, p.seq, p.ack)
		tcp.Window = 8192
		out.Transport = tcp
	}
	return out.Bytes()
}

// frameOf puts an Ethernet header before an IP packet.
func frameOf(packet, dst, src []byte) []byte {
	kind := []byte{frame.EtherIPv4 >> 8, frame.EtherIPv4 & 0xff}
	if packet[0]>>4 == 6 {
		kind = []byte{frame.EtherIPv6 >> 8, frame.EtherIPv6 & 0xff}
	}
	return slices.Concat(dst, src, kind, packet)
}

// destination returns the destination address and port of a frame with TCP or UDP.
func destination(b []byte) string {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.NoCopy)
	if p.NetworkLayer() == nil || p.TransportLayer() == nil {
		return ""
	}
	addr, _ := netip.AddrFromSlice(p.NetworkLayer().NetworkFlow().Dst().Raw())
	port := binary.BigEndian.Uint16(p.TransportLayer().TransportFlow().Dst().Raw())
	return netip.AddrPortFrom(addr, port).String()
}

// Describe describes a frame with IPv4 as in the recordings: the destination's MAC address,
// then the headers, with encapsulated ones in braces.
func Describe(b []byte) string {
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	var s strings.Builder
	depth := 0
	for _, layer := range p.Layers() {
		switch l := layer.(type) {
		case *layers.Ethernet:
			s.WriteString(l.DstMAC.String())
		case *layers.IPv4:
			if depth++; depth > 1 {
				s.WriteString(" {")
			} else {
				s.WriteString(" ")
			}
			fmt.Fprintf(&s, "IP %s>%s tos=%#x ttl=%d proto=%d len=%d id=%d", l.SrcIP, l.DstIP, l.TOS, l.TTL, l.Protocol, l.Length, l.Id)
			if l.Flags&layers.IPv4DontFragment != 0 {
				s.WriteString(" DF")
			}
			if l.Flags&layers.IPv4MoreFragments != 0 {
				s.WriteString(" MF")
			}
			if l.FragOffset != 0 {
				fmt.Fprintf(&s, " off=%d [frag]", 8*l.FragOffset)
			}
		case *layers.TCP:
			s.WriteString(describeTCP(l))
		case *layers.UDP:
			fmt.Fprintf(&s, " UDP %d>%d ulen=%d", l.SrcPort, l.DstPort, l.Length)
		}
	}
	if depth == 1 && p.Layer(gopacket.LayerTypeFragment) == nil {
		s.WriteString(" " + checksum(p))
	}
	return s.String() + strings.Repeat("}", max(0, depth-1))
}

func describeTCP(l *layers.TCP) string {
	var set strings.Builder
	for i, c := range flags {
		if l.Contents[13]>>i&1 != 0 {
			set.WriteRune(c)
		}
	}
	return fmt.Sprintf(" TCP %d>%d [%s] seq=%d ack=%d dlen=%d", l.SrcPort, l.DstPort, &set, l.Seq, l.Ack, len(l.Payload))
}

// checksum says whether the checksum of a packet over IPv4 is right.
func checksum(p gopacket.Packet) string {
	ip, ok := p.NetworkLayer().(*layers.IPv4)
	if !ok {
		return "csumBAD"
	}
	var pseudo uint64 // ICMP's checksum has no pseudo header
	if ip.Protocol != layers.IPProtocolICMPv4 {
		pseudo = frame.PseudoSum(ip.SrcIP, ip.DstIP, uint8(ip.Protocol), len(ip.Payload))
	}
	if frame.Fold(frame.Sum(ip.Payload, pseudo)) != 0xffff {
		return "csumBAD"
	}
	return "csumOK"
}

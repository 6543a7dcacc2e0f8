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
	return b.deliver(b.clients, layers.Ethernet{DstMAC: clientsMAC, SrcMAC: routerMAC}, p)
}

// fromServer delivers a packet from a real server, whose number is the last byte of its
// address.
func (b *testbed) fromServer(p packet) (sent, error) {
	addr := p.src.Addr().AsSlice()
	mac := append(slices.Clone(serverMAC[:5]), addr[len(addr)-1])
	return b.deliver(b.servers, layers.Ethernet{DstMAC: serversMAC, SrcMAC: mac}, p)
}

func (b *testbed) deliver(t *tap, e layers.Ethernet, p packet) (s sent, err error) {
	frame, err := b.frame(e, p)
	if err != nil {
		return s, fmt.Errorf("recording: build a frame: %w", err)
	}
	if err := t.write(frame); err != nil {
		return s, err
	}
	if s.toClients, err = b.clients.read(); err != nil {
		return s, err
	}
	s.toServers, err = b.servers.read()
	return s, err
}

// frame builds the Ethernet frame of a packet.
func (b *testbed) frame(e layers.Ethernet, p packet) ([]byte, error) {
	proto := layers.IPProtocolTCP
	if p.proto == "u" {
		proto = layers.IPProtocolUDP
	}
	buf := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if p.src.Addr().Is6() {
		e.EthernetType = layers.EthernetTypeIPv6
		ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: p.src.Addr().AsSlice(), DstIP: p.dst.Addr().AsSlice()}
		err := gopacket.SerializeLayers(buf, options, &e, ip, p.transport(ip), gopacket.Payload(p.data))
		return buf.Bytes(), err
	}
	*b.ident++
	e.EthernetType = layers.EthernetTypeIPv4
	ip := &layers.IPv4{Version: 4, TTL: 64, Id: *b.ident, Protocol: proto, SrcIP: p.src.Addr().AsSlice(), DstIP: p.dst.Addr().AsSlice()}
	err := gopacket.SerializeLayers(buf, options, &e, ip, p.transport(ip), gopacket.Payload(p.data))
	return buf.Bytes(), err
}

// transport is the layer above IP.
func (p packet) transport(ip gopacket.NetworkLayer) gopacket.SerializableLayer {
	if p.proto == "u" {
		udp := &layers.UDP{SrcPort: layers.UDPPort(p.src.Port()), DstPort: layers.UDPPort(p.dst.Port())}
		_ = udp.SetNetworkLayerForChecksum(ip) // knows both versions of IP
		return udp
	}
	has := func(flag string) bool { return strings.Contains(p.flags, flag) }
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(p.src.Port()), DstPort: layers.TCPPort(p.dst.Port()), Seq: p.seq, Ack: p.ack, Window: 8192,
		FIN: has("F"), SYN: has("S"), RST: has("R"), PSH: has("P"), ACK: has("A"), URG: has("U"), ECE: has("E"), CWR: has("C"),
	}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	return tcp
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
		case *layers.TCP:
			s.WriteString(describeTCP(l))
		case *layers.UDP:
			fmt.Fprintf(&s, " UDP %d>%d ulen=%d", l.SrcPort, l.DstPort, l.Length)
		}
	}
	if depth == 1 {
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

package forwarder

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// maxDryLength bounds the payload of a dry run's packet, in bytes.
const maxDryLength = 60000

// dryFrame builds the frame of a packet that arrives on a link.
func (fw *Forwarder) dryFrame(p *config.DryPacket, link *linkState) ([]byte, error) {
	eth := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: link.MAC[:], EthernetType: layers.EthernetTypeIPv4}
	if hop, v := (peeker{Neighbours: fw.neigh}).Lookup(p.Source.Addr().Unmap()); v == frame.Continue && hop.Resolved && hop.Link == link.Index {
		eth.SrcMAC = hop.DstMAC[:]
	}
	if p.Source.Addr().Unmap().Is6() {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	packet, err := dryPacket(p)
	if err != nil {
		return nil, err
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{}, eth, gopacket.Payload(packet)); err != nil {
		return nil, &config.FieldError{Field: "packet", Problem: err.Error()}
	}
	return b.Bytes(), nil
}

// dryPacket builds a packet from its IP header on.
func dryPacket(p *config.DryPacket) ([]byte, error) {
	src, dst := p.Source.Addr().Unmap(), p.Destination.Addr().Unmap()
	switch {
	case !src.IsValid():
		return nil, &config.FieldError{Field: "source", Problem: "an address is missing"}
	case !dst.IsValid():
		return nil, &config.FieldError{Field: "destination", Problem: "an address is missing"}
	case src.Is4() != dst.Is4():
		return nil, &config.FieldError{Field: "destination", Problem: "it is of another address family than the source"}
	case p.Length < 0 || p.Length > maxDryLength || len(p.Data) > maxDryLength:
		return nil, &config.FieldError{Field: "length", Problem: fmt.Sprintf("it is a number from 0 to %d", maxDryLength)}
	}
	l4, proto, err := dryTransport(p)
	if err != nil {
		return nil, err
	}
	data := []byte(p.Data)
	if p.Length > len(data) {
		data = append(data, make([]byte, p.Length-len(data))...)
	}
	ttl := p.TTL
	if ttl == 0 {
		ttl = 64
	}
	var ip gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	if src.Is4() {
		v4 := &layers.IPv4{Version: 4, TTL: ttl, Id: 1, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		if p.DF {
			v4.Flags = layers.IPv4DontFragment
		}
		ip, network = v4, v4
	} else {
		v6 := &layers.IPv6{Version: 6, HopLimit: ttl, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		ip, network = v6, v6
	}
	return serialize(p, ip, network, l4, data)
}

func serialize(p *config.DryPacket, ip gopacket.SerializableLayer, network gopacket.NetworkLayer, l4 []gopacket.SerializableLayer, data []byte) ([]byte, error) {
	for _, l := range l4 {
		if l, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := l.SetNetworkLayerForChecksum(network); err != nil {
				return nil, &config.FieldError{Field: "packet", Problem: err.Error()}
			}
		}
	}
	b := gopacket.NewSerializeBuffer()
	all := append(append([]gopacket.SerializableLayer{ip}, l4...), gopacket.Payload(data))
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		return nil, &config.FieldError{Field: "packet", Problem: err.Error()}
	}
	if strings.EqualFold(p.Proto, "sctp") {
		return sumSCTP(b.Bytes(), p.Source.Addr().Unmap().Is4()), nil
	}
	return b.Bytes(), nil
}

// dryTransport returns the headers behind the IP header.
func dryTransport(p *config.DryPacket) ([]gopacket.SerializableLayer, layers.IPProtocol, error) {
	sport, dport := p.Source.Port(), p.Destination.Port()
	switch strings.ToLower(p.Proto) {
	case "tcp":
		t := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Seq: p.Seq, Ack: p.Ack, Window: 64240}
		if t.Seq == 0 {
			t.Seq = 1000
		}
		err := setTCPFlags(t, p.Flags)
		return []gopacket.SerializableLayer{t}, layers.IPProtocolTCP, err
	case "udp":
		return []gopacket.SerializableLayer{&layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}}, layers.IPProtocolUDP, nil
	case "sctp":
		chunk, err := sctpChunk(p.Flags)
		head := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
		return []gopacket.SerializableLayer{gopacket.Payload(append(append(head, make([]byte, 8)...), chunk...))}, layers.IPProtocolSCTP, err
	case "icmp", "icmp6":
		return dryICMP(p)
	case "ah":
		return []gopacket.SerializableLayer{gopacket.Payload(make([]byte, 24))}, layers.IPProtocolAH, nil
	case "esp":
		return []gopacket.SerializableLayer{gopacket.Payload(make([]byte, 24))}, layers.IPProtocolESP, nil
	}
	return nil, 0, &config.FieldError{Field: "protocol", Problem: fmt.Sprintf("%q is none of tcp, udp, sctp, icmp, ah, esp", p.Proto)}
}

// setTCPFlags sets the flags by their names; without any, SYN.
func setTCPFlags(t *layers.TCP, names string) error {
	if names == "" {
		names = "syn"
	}
	for _, name := range strings.FieldsFunc(names, func(r rune) bool { return strings.ContainsRune(", +|", r) }) {
		switch strings.ToLower(name) {
		case "syn":
			t.SYN = true
		case "ack":
			t.ACK = true
		case "fin":
			t.FIN = true
		case "rst":
			t.RST = true
		case "psh", "push":
			t.PSH = true
		case "urg":
			t.URG = true
		case "none":
		default:
			return &config.FieldError{Field: "flags", Problem: fmt.Sprintf("%q is none of syn, ack, fin, rst, psh, urg, none", name)}
		}
	}
	return nil
}

var sctpChunks = map[string]byte{"data": 0, "init": 1, "init-ack": 2, "sack": 3, "heartbeat": 4, "abort": 6, "shutdown": 7,
	"shutdown-ack": 8, "cookie-echo": 10, "cookie-ack": 11, "shutdown-complete": 14}

// sctpChunk returns the first chunk of an SCTP packet, INIT without a name.
func sctpChunk(name string) ([]byte, error) {
	if name == "" {
		name = "init"
	}
	kind, ok := sctpChunks[strings.ToLower(name)]
	if !ok {
		return nil, &config.FieldError{Field: "flags", Problem: fmt.Sprintf("%q is no chunk of SCTP, such as init, data, abort", name)}
	}
	return []byte{kind, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1}, nil
}

// sumSCTP completes the checksum of an SCTP packet.
func sumSCTP(packet []byte, is4 bool) []byte {
	etherType := uint16(frame.EtherIPv6)
	if is4 {
		etherType = frame.EtherIPv4
	}
	var f frame.Frame
	b, ok := f.Make(make([]byte, 2*frame.Headroom+len(packet)), len(packet), etherType)
	if !ok {
		return packet
	}
	copy(b, packet)
	var parser frame.Parser
	if parser.Parse(&f) == frame.Continue {
		f.SumSCTP()
	}
	return f.L3()
}

// dryICMP returns an echo request, or an error about another packet.
func dryICMP(p *config.DryPacket) ([]gopacket.SerializableLayer, layers.IPProtocol, error) {
	is6 := p.Source.Addr().Unmap().Is6()
	kind, code, quoted := p.Type, p.Code, []byte{0, 1, 0, 1}
	switch {
	case p.About != nil:
		inner, err := dryPacket(p.About)
		if err != nil {
			return nil, 0, err
		}
		if kind == 0 {
			kind, code = portUnreachable(is6)
		}
		quoted = append(make([]byte, 4), inner[:min(len(inner), 512)]...)
	case kind == 0 && is6:
		kind = layers.ICMPv6TypeEchoRequest
	case kind == 0:
		kind = layers.ICMPv4TypeEchoRequest
	}
	if is6 {
		return []gopacket.SerializableLayer{&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}, gopacket.Payload(quoted)}, layers.IPProtocolICMPv6, nil
	}
	v4 := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Id: binary.BigEndian.Uint16(quoted), Seq: binary.BigEndian.Uint16(quoted[2:])}
	return []gopacket.SerializableLayer{v4, gopacket.Payload(quoted[4:])}, layers.IPProtocolICMPv4, nil
}

// portUnreachable returns type and code of a port unreachable message.
func portUnreachable(is6 bool) (kind, code uint8) {
	if is6 {
		return layers.ICMPv6TypeDestinationUnreachable, layers.ICMPv6CodePortUnreachable
	}
	return layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodePort
}

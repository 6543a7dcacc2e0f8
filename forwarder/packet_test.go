package forwarder

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

// onLink builds a packet that arrives on a link, from its router or a server.
func onLink(link int, p frametest.Packet) []byte {
	src := [6]byte{2, 0, 0, 2, 0, 1}
	p.DstMAC = clientLink.MAC
	if link == 2 {
		p.DstMAC, src = serverLink.MAC, [6]byte{2, 0, 0, 1, 0, 1}
	}
	if p.SrcMAC == [6]byte{} {
		p.SrcMAC = src
	}
	return p.Bytes()
}

// icmp is an ICMP or ICMPv6 message. word is what follows the checksum.
func icmp(link int, src, dst string, kind, code uint8, word uint32, data string) []byte {
	p := frametest.Packet{Src: src, Dst: dst, ID: 1, Data: data}
	if strings.Contains(src, ":") {
		p.Transport = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, code)}
		p.Data = string(binary.BigEndian.AppendUint32(nil, word)) + data
	} else {
		p.Transport = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(kind, code), Id: uint16(word >> 16), Seq: uint16(word)}
	}
	return onLink(link, p)
}

// seg is a TCP segment.
func seg(t testing.TB, link int, src, dst string, flags uint8, data string) []byte {
	return at(t, link, src, dst, flags, 1000, 5001, data)
}

// at is a segment of one end of a connection with its numbers.
func at(_ testing.TB, link int, src, dst string, flags uint8, seq, ackn uint32, data string) []byte {
	return onLink(link, frametest.Packet{Src: src, Dst: dst, ID: 1, Transport: frametest.TCP(flags, seq, ackn), Data: data})
}

// dgram is a UDP datagram.
func dgram(_ testing.TB, link int, src, dst, data string) []byte {
	return onLink(link, frametest.Packet{Src: src, Dst: dst, ID: 1, Transport: &layers.UDP{}, Data: data})
}

// judge describes a frame by its MAC address, addresses and ports as gopacket reads
// them, and fails if a length or checksum in it is wrong.
func judge(t testing.TB, b []byte) string {
	t.Helper()
	return describeLayers(t, b, false)
}

// inFull is judge with the flags and numbers of segments in place of MAC addresses.
func inFull(t testing.TB, b []byte) string {
	t.Helper()
	return describeLayers(t, b, true)
}

func describeLayers(t testing.TB, b []byte, full bool) string {
	t.Helper()
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	for _, l := range gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default).Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			if !full {
				add("%s", l.DstMAC)
			}
		case *layers.IPv4:
			add("%s>%s", l.SrcIP, l.DstIP)
		case *layers.IPv6:
			add("%s>%s", l.SrcIP, l.DstIP)
		case *layers.TCP:
			add("tcp %d>%d", l.SrcPort, l.DstPort)
			if full {
				add("%s seq %d ack %d", frame.FlagNames(l.Contents[13]), l.Seq, l.Ack)
			}
		case *layers.UDP:
			add("udp %d>%d", l.SrcPort, l.DstPort)
		case *layers.SCTP:
			add("sctp %d>%d tag %d", l.SrcPort, l.DstPort, l.VerificationTag)
		case *layers.SCTPError:
			add("%s flags %d", l.Type, l.Flags)
		case *layers.ICMPv4:
			add("%s", l.TypeCode)
		case *layers.ICMPv6:
			add("%s", l.TypeCode)
		}
	}
	all := strings.Join(words, " ")
	if err := frametest.Check(b, layers.LayerTypeEthernet); err != nil {
		t.Errorf("%s: %v", all, err)
	}
	return all
}

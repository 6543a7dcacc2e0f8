package lab_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame/frametest"
	"uvs/lab"
	"uvs/lab/labtest"
)

// TestTunnelledPacketsReachTheServer sends tunnelled queries as a director
// would, and expects the real server's answers at the client, straight and
// from the VIP:
//
//	client 100.0.0.6 ── gateway ── director 172.16.253.130
//	                       └────── rs1 192.168.166.129, VIP on lo
func TestTunnelledPacketsReachTheServer(t *testing.T) {
	for _, via := range []string{"lo", "tun"} {
		t.Run("by way of "+via, func(t *testing.T) {
			if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); via == "tun" {
				if err != nil {
					t.Skip("no TUN device for this user: ", err)
				}
				f.Close()
			}
			l := labtest.Start(t, tunnelled(t, via))
			client := bound(t, l, "client", 5353)
			inner := query(t, l, 5353)
			for _, c := range []struct {
				name  string
				outer func(net.IP, net.IP) []gopacket.SerializableLayer
			}{
				{"IP in IP", ipip}, {"GRE", greLayers}, {"GUE", gueLayers},
			} {
				tunnel(t, l, c.outer, inner, 0)
				if got := answerTXT(t, client); got != "Web1" {
					t.Errorf("%s: the answer says %q", c.name, got)
				}
			}
			tunnel(t, l, ipip, inner, 300)
			if got := answerTXT(t, client); got != "Web1" {
				t.Errorf("IP in IP in fragments: the answer says %q", got)
			}
		})
	}
}

func tunnelled(t *testing.T, via string) lab.Topology {
	top := labtest.Build(t, "tun", lab.Options{RealServers: 1})
	d := top.Node("director")
	d.Services, d.Setup = nil, nil
	for i, s := range top.Node("rs1").Services {
		if s.Name == "decap" {
			top.Node("rs1").Services[i].Command = append(s.Command, "--via", via, "--gue", "6080")
		}
	}
	return top
}

// bound returns a UDP socket of the node with a deadline.
func bound(t *testing.T, l *lab.Lab, node string, port int) net.PacketConn {
	t.Helper()
	f, err := l.Socket(node, unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Bind(int(f.Fd()), &unix.SockaddrInet4{Port: port}); err != nil {
		t.Fatal(err)
	}
	c, err := net.FilePacketConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// query returns a DNS query from the client to the VIP that is large enough to be fragmented.
func query(t *testing.T, l *lab.Lab, port uint16) []byte {
	q := dnsmessage.Message{Header: dnsmessage.Header{ID: 1}}
	for i := range 20 {
		q.Questions = append(q.Questions, dnsmessage.Question{
			Name: dnsmessage.MustNewName(fmt.Sprintf("a-rather-long-name-%d.example.", i)),
			Type: dnsmessage.TypeTXT, Class: dnsmessage.ClassINET})
	}
	data, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	client := netip.AddrPortFrom(l.Topology.Node("client").Address(), port)
	return frametest.Packet{Src: client.String(), Dst: netip.AddrPortFrom(l.Topology.VIP, 53).String(), TTL: 60, Transport: &layers.UDP{}, Data: string(data)}.Bytes()
}

func outerIP(src, dst net.IP, p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 60, Id: 77, Protocol: p, SrcIP: src, DstIP: dst}
}

func ipip(src, dst net.IP) []gopacket.SerializableLayer {
	return []gopacket.SerializableLayer{outerIP(src, dst, layers.IPProtocolIPv4)}
}

func greLayers(src, dst net.IP) []gopacket.SerializableLayer {
	return []gopacket.SerializableLayer{outerIP(src, dst, layers.IPProtocolGRE),
		&layers.GRE{Protocol: layers.EthernetTypeIPv4, ChecksumPresent: true}}
}

func gueLayers(src, dst net.IP) []gopacket.SerializableLayer {
	ip := outerIP(src, dst, layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 40000, DstPort: 6080}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return []gopacket.SerializableLayer{ip, udp, gopacket.Payload{0, 4, 0, 0}}
}

// tunnel sends inner from the director to rs1, whole or in fragments of size
// bytes.
func tunnel(t *testing.T, l *lab.Lab, outer func(src, dst net.IP) []gopacket.SerializableLayer, inner []byte, size int) {
	t.Helper()
	src, dst := netip.MustParseAddr("172.16.253.130"), l.Topology.Node("rs1").Address()
	packet := frametest.Build(t, append(outer(src.AsSlice(), dst.AsSlice()), gopacket.Payload(inner))...)
	f, err := l.Socket("director", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range fragments(packet, size) {
		if err := unix.Sendto(int(f.Fd()), p, 0, &unix.SockaddrInet4{Addr: dst.As4()}); err != nil {
			t.Fatal(err)
		}
	}
}

// fragments cuts an IPv4 packet with a 20 byte header (RFC 791 section 3.2).
// The kernel computes the header checksum of what a raw socket sends.
func fragments(packet []byte, size int) [][]byte {
	if size == 0 {
		return [][]byte{packet}
	}
	size &^= 7
	var all [][]byte
	for at := 0; at < len(packet)-20; at += size {
		end := min(20+at+size, len(packet))
		p := append(append([]byte{}, packet[:20]...), packet[20+at:end]...)
		flags := uint16(at / 8)
		if end < len(packet) {
			flags |= 0x2000
		}
		p[6], p[7] = byte(flags>>8), byte(flags)
		p[2], p[3] = byte(len(p)>>8), byte(len(p))
		all = append(all, p)
	}
	return all
}

// answerTXT waits for the DNS answer and returns the text in it, after
// checking that it comes from the VIP.
func answerTXT(t *testing.T, c net.PacketConn) string {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2048)
	n, from, err := c.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	if from.String() != "172.16.253.63:53" {
		t.Errorf("the answer comes from %s", from)
	}
	var m dnsmessage.Message
	if err := m.Unpack(buf[:n]); err != nil || len(m.Answers) == 0 {
		t.Fatalf("no answer in %x: %v", buf[:n], err)
	}
	txt, _ := m.Answers[0].Body.(*dnsmessage.TXTResource)
	return strings.Join(txt.TXT, " ")
}

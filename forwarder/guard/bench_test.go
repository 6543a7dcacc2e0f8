package guard

import (
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/internal/nstest"
)

// BenchmarkDrop is what a packet costs that the guard keeps from the stack, with
// all that its sender has to do: requests, and replies of servers.
func BenchmarkDrop(b *testing.B) {
	for _, c := range []struct{ name, src, dst string }{
		{"request", "10.1.0.11:5000", "10.0.0.100:80"},
		{"reply", "10.1.0.11:80", "10.0.0.9:5000"},
		{"other", "10.1.0.11:81", "10.0.0.9:5000"},
	} {
		b.Run(c.name, func(b *testing.B) {
			_, host, server := lan(b)
			host.Sysctl("net/ipv4/ip_forward", "0")
			set(host, newGuard(b, host), Rules{Links: []string{"d0", "d1"},
				Virtual: []Tuple{tuple(17, "10.0.0.100:80")}, Servers: []Tuple{tuple(17, "10.1.0.11:80")}})
			frame := datagramFrame(host, tuple(17, c.src), tuple(17, c.dst))
			server.Link("s0", func(l netlink.Link) error {
				conn, err := packet.Listen(&net.Interface{Index: l.Attrs().Index, Name: "s0"}, packet.Raw, 0, nil)
				if err != nil {
					return err
				}
				defer conn.Close()
				raw, err := conn.SyscallConn()
				if err != nil {
					return err
				}
				return raw.Control(func(fd uintptr) {
					for b.Loop() {
						_, _ = unix.Write(int(fd), frame)
					}
				})
			})
		})
	}
}

// datagramFrame returns a UDP datagram for the host's MAC address.
func datagramFrame(host *nstest.Node, src, dst Tuple) []byte {
	eth := layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv4}
	host.Link("d1", func(l netlink.Link) error {
		eth.DstMAC = l.Attrs().HardwareAddr
		return nil
	})
	ip := layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.Addr.AsSlice(), DstIP: dst.Addr.AsSlice()}
	udp := layers.UDP{SrcPort: layers.UDPPort(src.Port), DstPort: layers.UDPPort(dst.Port)}
	_ = udp.SetNetworkLayerForChecksum(&ip)
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&eth, &ip, &udp, gopacket.Payload(make([]byte, 18))); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

package guard

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket/layers"
	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame/frametest"
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
	p := frametest.Packet{SrcMAC: [6]byte{2, 0, 0, 0, 0, 1}, Transport: &layers.UDP{}, Data: string(make([]byte, 18)),
		Src: netip.AddrPortFrom(src.Addr, src.Port).String(), Dst: netip.AddrPortFrom(dst.Addr, dst.Port).String()}
	host.Link("d1", func(l netlink.Link) error {
		p.DstMAC = [6]byte(l.Attrs().HardwareAddr)
		return nil
	})
	return p.Bytes()
}

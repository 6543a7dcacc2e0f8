package host

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/internal/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }

// datagram returns a parsed frame with a UDP datagram.
func datagram(t *testing.T, src, dst netip.AddrPort, text string) frame.Frame {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
	udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	var ip gopacket.SerializableLayer
	if src.Addr().Is4() {
		h := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
		_ = udp.SetNetworkLayerForChecksum(h)
		ip = h
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		h := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src.Addr().AsSlice(), DstIP: dst.Addr().AsSlice()}
		_ = udp.SetNetworkLayerForChecksum(h)
		ip = h
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		eth, ip, udp, gopacket.Payload(text)); err != nil {
		t.Fatal(err)
	}
	var f frame.Frame
	f.Reset(b.Bytes(), 0, len(b.Bytes()), len(b.Bytes()))
	var p frame.Parser
	if v := p.Parse(&f); v != frame.Continue {
		t.Fatal(v)
	}
	return f
}

// A client may be anybody: an address of another host, which rp_filter would
// refuse on the loopback interface, or the host's own, which is a martian there.
func TestADatagramReachesTheHostWhateverItsSource(t *testing.T) {
	n := nstest.NewNode(t)
	other := nstest.NewNode(t)
	n.Connect("e0", other, "e1")
	n.Addr("e0", "10.0.0.1/24")
	n.Addr("e0", "fd00::1/64")
	n.Sysctl("net/ipv4/conf/all/rp_filter", "1")
	for _, c := range []struct{ name, src, dst string }{
		{"from elsewhere", "192.0.2.7:4000", "10.0.0.1:53"},
		{"from the host itself", "10.0.0.1:4000", "10.0.0.1:53"},
		{"to the loopback address", "10.0.0.1:4000", "127.0.0.1:53"},
		{"from elsewhere over IPv6", "[2001:db8::7]:4000", "[fd00::1]:53"},
		{"from the host itself over IPv6", "[fd00::1]:4000", "[fd00::1]:53"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, dst := netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst)
			n.Do(func() error {
				l, err := net.ListenPacket("udp", c.dst)
				if err != nil {
					return err
				}
				defer l.Close()
				p, err := Open()
				if err != nil {
					return err
				}
				defer p.Close()
				got := ""
				for range 20 { // the link may still be coming up
					if sent, err := p.Send([]frame.Frame{datagram(t, src, dst, "hello")}); sent != 1 {
						t.Errorf("sent %d: %v", sent, err)
					}
					_ = l.SetReadDeadline(time.Now().Add(250 * time.Millisecond))
					buf := make([]byte, 100)
					if size, from, err := l.ReadFrom(buf); err == nil {
						got = from.String() + " " + string(buf[:size])
						break
					}
				}
				if diff := cmp.Diff(c.src+" hello", got); diff != "" {
					t.Error(diff)
				}
				return nil
			})
		})
	}
}

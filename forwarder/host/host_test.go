package host

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/internal/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }

// datagram returns a parsed frame with a UDP datagram.
func datagram(t *testing.T, src, dst netip.AddrPort, text string) frame.Frame {
	t.Helper()
	b := frametest.Packet{DstMAC: [6]byte{2}, Src: src.String(), Dst: dst.String(), Transport: &layers.UDP{}, Data: text}.Bytes()
	var f frame.Frame
	f.Reset(b, 0, len(b), len(b))
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

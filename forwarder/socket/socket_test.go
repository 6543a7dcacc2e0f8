package socket

import (
	"net"
	"os"
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
	"uvs/forwarder/porttest/conform"
	"uvs/internal/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }

func TestConformance(t *testing.T) {
	conform.Run(t, func(t *testing.T) conform.Rig {
		nstest.Veth(t, "near", "far")
		ifi, err := net.InterfaceByName("near")
		if err != nil {
			t.Fatal(err)
		}
		open := func() *Port {
			p, err := Open(ifi, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = p.Close() })
			return p
		}
		p, other := open(), open()
		return conform.Rig{
			Port: p, Wire: conform.OpenWire(t, "far"), Index: ifi.Index, MTU: ifi.MTU, Allocs: true,
			HostSend: func(b []byte) { _, _ = other.conn.WriteTo(b, other.to) },
		}
	})
}

// The socket cannot tell a tag, so it must not take the frame for an untagged one.
func TestFrameInAVLANIsNotReceived(t *testing.T) {
	nstest.Veth(t, "near", "far")
	ifi, err := net.InterfaceByName("near")
	if err != nil {
		t.Fatal(err)
	}
	p, err := Open(ifi, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	plain := conform.UDP(2, 18)
	tagged := append(append([]byte(nil), plain[:12]...), 0x81, 0, 0, 7)
	conform.OpenWire(t, "far").InjectFrames(
		porttest.Frame{Bytes: append(tagged, conform.UDP(1, 18)[12:]...)}, porttest.Frame{Bytes: plain})
	fs := make([]frame.Frame, 1)
	if _, err := p.Recv(fs); err != nil {
		t.Fatal(err)
	}
	if got := fs[0].Flow.SrcPort(); got != 2 {
		t.Errorf("received the frame from port %d, want 2", got)
	}
}

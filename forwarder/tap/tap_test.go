package tap

import (
	"errors"
	"os"
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
	"uvs/forwarder/porttest/conform"
	"uvs/internal/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }

func TestConformance(t *testing.T) {
	for _, tun := range []bool{false, true} {
		name := "tap0"
		if tun {
			name = "tun0"
		}
		t.Run(name, func(t *testing.T) {
			conform.Run(t, func(t *testing.T) conform.Rig {
				p := open(t, Config{Name: name, TUN: tun})
				wire := conform.OpenWire(t, name)
				if tun {
					wire = ipWire{wire}
				}
				return conform.Rig{Port: p, Wire: wire, Index: p.Index(), MTU: p.mtu}
			})
		})
	}
}

func open(t *testing.T, cfg Config) *Port {
	t.Helper()
	nstest.Need(t)
	p, err := Open(cfg)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("needs /dev/net/tun, usually root's: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	nstest.Up(t, p.Name())
	return p
}

// ipWire is a Wire by an interface without Ethernet.
type ipWire struct{ conform.Wire }

func (w ipWire) InjectFrames(frames ...porttest.Frame) {
	for _, f := range frames {
		f.Bytes = f.Bytes[frame.EthernetLen:]
		if f.Offload.Partial() {
			f.Offload.CsumStart -= frame.EthernetLen
		}
		w.Wire.InjectFrames(f)
	}
}

func (w ipWire) Wait(n int) []porttest.Frame {
	all := w.Wire.Wait(n)
	for i := range all {
		b := append(make([]byte, frame.EthernetLen), all[i].Bytes...)
		ethernet(b)
		all[i].Bytes = b
	}
	return all
}

func TestTUNRefusesWhatIsNotIP(t *testing.T) {
	p := open(t, Config{Name: "tun0", TUN: true})
	b := make([]byte, 60)
	b[12], b[13] = 0x08, 0x06
	fs := make([]frame.Frame, 1)
	fs[0].Reset(b, 0, len(b), len(b))
	if n, err := p.Send(fs); n != 0 || err != nil {
		t.Errorf("Send = %d, %v; want 0", n, err)
	}
	if got := p.Stats().Refused; got != 1 {
		t.Errorf("Refused = %d, want 1", got)
	}
}

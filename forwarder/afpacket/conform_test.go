package afpacket

import (
	"fmt"
	"net"
	"os"
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest/conform"
	"uvs/internal/ethtool"
	"uvs/internal/nstest"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(generatorEnv); spec != "" {
		fmt.Fprintln(os.Stderr, "generator:", generate(spec))
		os.Exit(1)
	}
	os.Exit(nstest.Run(m))
}

func TestConformance(t *testing.T) {
	for _, profile := range []Profile{Latency, Throughput} {
		t.Run(profile.String(), func(t *testing.T) {
			conform.Run(t, func(t *testing.T) conform.Rig {
				return newRig(t, Config{Profile: profile})
			})
		})
	}
}

// newRig opens a port on one end of a veth pair; the wire is the other end.
func newRig(t *testing.T, cfg Config) conform.Rig {
	t.Helper()
	nstest.Veth(t, "near", "far")
	cfg.Interface = byName(t, "near")
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return conform.Rig{
		Port: p, Wire: conform.OpenWire(t, "far"), Index: p.Index(), MTU: cfg.Interface.MTU,
		Offloads: true, Cuts: true, VLAN: true,
		HostSend: func(b []byte) { sendByHost(t, cfg.Interface, b) },
	}
}

// sendByHost sends a frame as the host's own stack would: another socket on the
// same interface, through the queueing discipline, where taps see it.
func sendByHost(t *testing.T, ifi *net.Interface, b []byte) {
	t.Helper()
	s, err := Sender(Config{Interface: ifi})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.tx.outs[direct].setBypass(false)
	fs := make([]frame.Frame, 1)
	fs[0].Reset(b, 0, len(b), len(b))
	if n, err := s.Send(fs); n != 1 || err != nil {
		t.Fatalf("Send = %d, %v", n, err)
	}
}

// switchOff turns an offload of an interface off.
func switchOff(t *testing.T, name, feature string) {
	t.Helper()
	if err := ethtool.SetFeatures(name, map[string]bool{feature: false}); err != nil {
		t.Fatal(err)
	}
}

func byName(t testing.TB, name string) *net.Interface {
	t.Helper()
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return ifi
}

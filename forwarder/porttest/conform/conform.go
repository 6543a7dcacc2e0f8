// Package conform holds the tests that every port passes, whatever it stands
// on: a packet ring, a plain socket, a TAP device, memory. Run is called from
// the port's own tests with a function that makes a fresh port and the wire it
// is connected to.
//
//	Port under test ── veth, TAP or Pipe ── Wire (the test)
//
// The judge of checksums and segments is gopacket, not the code under test.
package conform

import (
	"net"
	"testing"
	"time"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
	"uvs/forwarder/porttest"
)

// Wire is the other end of a port's interface.
type Wire interface {
	// InjectFrames puts frames on the wire towards the port.
	InjectFrames(frames ...porttest.Frame)
	// Wait returns the next n frames the port sent, fewer if they do not come.
	Wait(n int) []porttest.Frame
}

// Rig is a port under test, closed by whoever made it, and what it promises.
type Rig struct {
	Port  port.Port
	Wire  Wire
	Index int // interface index expected in Frame.Ingress
	MTU   int // of the interface, in bytes
	// Offloads: facts and super-frames pass unchanged in both directions.
	// Otherwise the port infers them, completes checksums and segments.
	Offloads bool
	// Allocs: Recv and Send may allocate.
	Allocs bool
	// Cuts: a filter that keeps only part of a frame makes Frame.Cut true.
	Cuts bool
	// VLAN: the tag of a tagged frame travels beside it.
	VLAN bool
	// HostSend, if not nil, sends a frame as the host itself would by the same
	// interface: the port must not see it.
	HostSend func(b []byte)
}

// Run runs the suite; newRig is called for each test.
func Run(t *testing.T, newRig func(t *testing.T) Rig) {
	tests := []struct {
		name string
		run  func(t *testing.T, r Rig)
	}{
		{"frames keep their order both ways", testOrder},
		{"a received frame has head-room and its interface", testHeadroom},
		{"a frame without head-room is sent", testNoHeadroom},
		{"a super-frame of 64 KiB passes whole or in right segments", testSuper},
		{"more super-frames than fit one batch pass in order", testManySupers},
		{"a partial checksum is carried or completed", testPartial},
		{"a refused frame is skipped and the rest sent", testRefused},
		{"own transmissions are not received", testOwn},
		{"a filter is honoured and replaced", testFilter},
		{"a cut frame says so", testCut},
		{"a tag travels beside the frame", testVLAN},
		{"Close wakes Recv", testClose},
		{"nothing is allocated", testNoAllocs},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, newRig(t)) })
	}
}

// recv collects n frames, by as many calls of Recv as that takes.
func recv(t *testing.T, r Rig, n int) []porttest.Frame {
	t.Helper()
	stuck := time.AfterFunc(5*time.Second, func() { _ = r.Port.Close() })
	defer stuck.Stop()
	fs := make([]frame.Frame, 64)
	var all []porttest.Frame
	for len(all) < n {
		got, err := r.Port.Recv(fs)
		if err != nil {
			t.Fatalf("Recv after %d of %d frames: %v", len(all), n, err)
		}
		for i := range fs[:got] {
			all = append(all, keep(&fs[i]))
		}
	}
	return all
}

// keep copies a frame.
func keep(f *frame.Frame) porttest.Frame {
	return porttest.Frame{
		Bytes: append([]byte(nil), f.Bytes()...), Offload: f.Offload, VLAN: f.Info.VLAN,
	}
}

// wait returns exactly n frames from the wire.
func wait(t *testing.T, r Rig, n int) []porttest.Frame {
	t.Helper()
	got := r.Wire.Wait(n)
	if len(got) != n {
		t.Fatalf("%d frames on the wire, want %d", len(got), n)
	}
	return got
}

// send sends frames made of copies, with head-room.
func send(t *testing.T, r Rig, frames ...porttest.Frame) int {
	t.Helper()
	n, err := r.Port.Send(framesOf(frames...))
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	return n
}

func framesOf(frames ...porttest.Frame) []frame.Frame {
	fs := make([]frame.Frame, len(frames))
	for i, f := range frames {
		b := append(make([]byte, frame.Headroom), f.Bytes...)
		fs[i].Reset(b, frame.Headroom, len(b), len(f.Bytes))
		fs[i].Offload = f.Offload
	}
	return fs
}

func ordinary(b []byte) porttest.Frame { return porttest.Frame{Bytes: b} }

var (
	clientMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	serverMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

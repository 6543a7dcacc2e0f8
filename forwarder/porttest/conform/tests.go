package conform

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"uvs/forwarder/frame"
	"uvs/forwarder/port"
	"uvs/forwarder/porttest"
)

func testOrder(t *testing.T, r Rig) {
	const count = 200 // fit the smallest receive buffer
	frames := make([]porttest.Frame, count)
	for i := range frames {
		frames[i] = ordinary(UDP(uint16(1000+i), 18))
	}
	r.Wire.InjectFrames(frames...)
	for i, f := range recv(t, r, count) {
		if !sameIP(f.Bytes, frames[i].Bytes) {
			t.Fatalf("received frame %d is not the one sent", i)
		}
	}
	if n := send(t, r, frames...); n != count {
		t.Fatalf("Send = %d, want %d", n, count)
	}
	for i, f := range wait(t, r, count) {
		if !sameIP(f.Bytes, frames[i].Bytes) {
			t.Fatalf("frame %d on the wire is not the one sent", i)
		}
	}
}

// sameIP compares two frames from the IP header on, ignoring padding.
func sameIP(got, want []byte) bool {
	return len(got) >= len(want) && bytes.Equal(got[frame.EthernetLen:len(want)], want[frame.EthernetLen:])
}

func testHeadroom(t *testing.T, r Rig) {
	r.Wire.InjectFrames(ordinary(UDP(7, 100)), Super())
	fs := make([]frame.Frame, 2)
	for n := 0; n < 2; {
		got, err := r.Port.Recv(fs)
		if err != nil {
			t.Fatal(err)
		}
		n += got
		for i := range fs[:got] {
			f := &fs[i]
			buf, start, end := f.Buffer()
			if start < frame.Headroom {
				t.Errorf("%d bytes of head-room, want %d", start, frame.Headroom)
			}
			if f.Ingress != r.Index {
				t.Errorf("Ingress = %d, want %d", f.Ingress, r.Index)
			}
			clear(buf[start-frame.Headroom : start]) // is ours to write
			if f.Len() != end-start || f.Cut() {
				t.Errorf("length %d of %d, cut %v", f.Len(), end-start, f.Cut())
			}
		}
	}
}

func testNoHeadroom(t *testing.T, r Rig) {
	b := UDP(9, 33)
	fs := make([]frame.Frame, 1)
	fs[0].Reset(bytes.Clone(b), 0, len(b), len(b))
	if n, err := r.Port.Send(fs); n != 1 || err != nil {
		t.Fatalf("Send = %d, %v", n, err)
	}
	if got := wait(t, r, 1); !sameIP(got[0].Bytes, b) {
		t.Error("the frame changed on its way")
	}
}

func testRefused(t *testing.T, r Rig) {
	fs := framesOf(ordinary(UDP(1, 18)), ordinary(UDP(2, r.MTU)), ordinary(UDP(3, 18)))
	if n, err := r.Port.Send(fs); n != 2 || err != nil {
		t.Errorf("Send = %d, %v, want 2", n, err)
	}
	if fs[0].Refused || !fs[1].Refused || fs[2].Refused {
		t.Errorf("refused are %t, %t, %t; want the second", fs[0].Refused, fs[1].Refused, fs[2].Refused)
	}
	got := wait(t, r, 2)
	if !sameIP(got[0].Bytes, UDP(1, 18)) || !sameIP(got[1].Bytes, UDP(3, 18)) {
		t.Error("not the first and the third frame on the wire")
	}
}

func testOwn(t *testing.T, r Rig) {
	send(t, r, ordinary(UDP(1, 18)))
	if r.HostSend != nil {
		r.HostSend(UDP(2, 18))
	}
	r.Wire.InjectFrames(ordinary(UDP(3, 18)))
	if got := recv(t, r, 1); !sameIP(got[0].Bytes, UDP(3, 18)) {
		t.Error("received a frame that this host sent")
	}
}

func testFilter(t *testing.T, r Rig) {
	p, ok := r.Port.(port.FilterSetter)
	if !ok {
		t.Skip("the port has no filter")
	}
	for _, port := range []uint16{5000, 6000} {
		if err := p.SetFilter(sourcePort(t, port, 1<<18)); err != nil {
			t.Fatal(err)
		}
		r.Wire.InjectFrames(ordinary(UDP(4000, 18)), ordinary(UDP(port, 18)))
		if got := recv(t, r, 1); !sameIP(got[0].Bytes, UDP(port, 18)) {
			t.Errorf("received another frame than that from port %d", port)
		}
	}
	if err := p.SetFilter(nil); err != nil {
		t.Fatal(err)
	}
	r.Wire.InjectFrames(ordinary(UDP(4000, 18)))
	if got := recv(t, r, 1); !sameIP(got[0].Bytes, UDP(4000, 18)) {
		t.Error("a nil filter does not admit everything")
	}
}

// sourcePort is a filter that keeps so many bytes of UDP frames from one port.
func sourcePort(t *testing.T, port uint16, keep uint32) []bpf.RawInstruction {
	t.Helper()
	prog, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 34, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1},
		bpf.RetConstant{Val: keep},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

func testCut(t *testing.T, r Rig) {
	if !r.Cuts {
		t.Skip("the port cannot tell")
	}
	if err := r.Port.(port.FilterSetter).SetFilter(sourcePort(t, 8, 60)); err != nil {
		t.Fatal(err)
	}
	r.Wire.InjectFrames(ordinary(UDP(8, 400)))
	fs := make([]frame.Frame, 1)
	if _, err := r.Port.Recv(fs); err != nil {
		t.Fatal(err)
	}
	if !fs[0].Cut() || fs[0].Len() != 60 {
		t.Errorf("length %d, cut %v; want 60, true", fs[0].Len(), fs[0].Cut())
	}
}

func testVLAN(t *testing.T, r Rig) {
	if !r.VLAN {
		t.Skip("the port has no tags")
	}
	plain := UDP(8, 40)
	tagged := append(bytes.Clone(plain[:12]), 0x81, 0x00, 0x20, 0x07)
	r.Wire.InjectFrames(ordinary(append(tagged, plain[12:]...)), ordinary(plain))
	got := recv(t, r, 2)
	if !bytes.Equal(got[0].Bytes, plain) || got[0].VLAN != 0x2007 {
		t.Errorf("tagged frame: tag %#x beside %x", got[0].VLAN, got[0].Bytes[:18])
	}
	if got[1].VLAN != 0 {
		t.Errorf("untagged frame: tag %#x", got[1].VLAN)
	}
}

func testClose(t *testing.T, r Rig) {
	result := make(chan error)
	go func() {
		_, err := r.Port.Recv(make([]frame.Frame, 1))
		result <- err
	}()
	// The reader may not wait yet; closing must work in either order.
	if err := r.Port.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	select {
	case err := <-result:
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Recv = %v, want net.ErrClosed", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Recv still blocks")
	}
	if _, err := r.Port.Recv(make([]frame.Frame, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Recv after Close = %v, want net.ErrClosed", err)
	}
	fs := make([]frame.Frame, 1)
	fs[0].Reset(make([]byte, 200), 100, 200, 100)
	if _, err := r.Port.Send(fs); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close = %v, want net.ErrClosed", err)
	}
	if p, ok := r.Port.(port.FilterSetter); ok {
		if err := p.SetFilter(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetFilter after Close = %v, want net.ErrClosed", err)
		}
	}
	if err := r.Port.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func testNoAllocs(t *testing.T, r Rig) {
	if r.Allocs {
		t.Skip("the port allocates")
	}
	const rounds = 20
	batch := make([]porttest.Frame, 16)
	for i := range batch {
		batch[i] = ordinary(UDP(uint16(i), 18))
	}
	batch[15] = Super()
	for range rounds + 5 {
		r.Wire.InjectFrames(batch...)
	}
	fs := make([]frame.Frame, len(batch))
	round := func() {
		n, err := r.Port.Recv(fs)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Port.Send(fs[:n]); err != nil {
			t.Fatal(err)
		}
	}
	round()
	if n := testing.AllocsPerRun(rounds, round); n != 0 {
		t.Errorf("%v allocations in a round, want 0", n)
	}
}

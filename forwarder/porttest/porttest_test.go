package porttest

import (
	"bytes"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"uvs/forwarder/frame"
)

func TestPipeCarriesFactsBesideBytes(t *testing.T) {
	a, b := Pipe()
	want := Frame{Bytes: bytes.Repeat([]byte{7}, 9000), VLAN: 12,
		Offload: frame.Offload{Flags: frame.OffloadPartial, GSOType: frame.GSOTCP4, GSOSize: 1448}}
	a.InjectFrames(want)

	fs := make([]frame.Frame, 4)
	n, err := b.Recv(fs)
	if n != 1 || err != nil {
		t.Fatalf("Recv = %d, %v", n, err)
	}
	f := &fs[0]
	if !bytes.Equal(f.Bytes(), want.Bytes) || f.Offload != want.Offload || f.Info.VLAN != want.VLAN {
		t.Error("the frame changed on its way")
	}
	if f.Ingress != b.Index {
		t.Errorf("Ingress = %d, want %d", f.Ingress, b.Index)
	}
}

func TestInjectedFrameCanBeCut(t *testing.T) {
	a, b := Pipe()
	a.InjectFrames(Frame{Bytes: make([]byte, 60), Wire: 1514})
	fs := make([]frame.Frame, 1)
	if _, err := b.Recv(fs); err != nil || !fs[0].Cut() {
		t.Errorf("frame not cut (%v)", err)
	}
}

func TestFullQueueLosesAndCounts(t *testing.T) {
	a, b := Pipe()
	for range Capacity + 3 {
		a.Inject(make([]byte, 60))
	}
	if got := b.Stats().Lost; got != 3 {
		t.Errorf("Lost = %d, want 3", got)
	}
	if got := len(b.Collect()); got != Capacity {
		t.Errorf("Collect gave %d frames, want %d", got, Capacity)
	}
}

func TestCloseWakesRecvAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		var err error
		go func() { _, err = a.Recv(make([]frame.Frame, 1)) }()
		var got []Frame
		go func() { got = b.Wait(2) }()
		a.Inject(make([]byte, 60))
		synctest.Wait()
		_ = a.Close()
		_ = b.Close()
		synctest.Wait()
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("Recv = %v, want net.ErrClosed", err)
		}
		if len(got) != 1 {
			t.Errorf("Wait gave %d frames, want the one that came", len(got))
		}
	})
}

func TestNoAllocs(t *testing.T) {
	a, b := Pipe()
	in, out := make([]frame.Frame, 64), make([]frame.Frame, 64)
	for i := range out {
		out[i].Reset(make([]byte, 200), frame.Headroom, 160, 64)
	}
	round := func() {
		_, _ = a.Send(out)
		_, _ = b.Recv(in)
		_, _ = b.Send(in)
		_, _ = a.Recv(in)
	}
	round()
	round()
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a round, want 0", n)
	}
}

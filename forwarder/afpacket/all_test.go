package afpacket

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
	"uvs/forwarder/porttest/conform"
	"uvs/internal/nstest"
)

// one is a port of all interfaces seen as one of a single interface.
type one struct {
	*Port
	index int
}

func (p one) Recv(fs []frame.Frame) (int, error) {
	for {
		got, err := p.Port.Recv(fs)
		n := 0
		for i := range fs[:got] {
			if fs[i].Ingress == p.index {
				fs[n] = fs[i]
				n++
			}
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (p one) Send(fs []frame.Frame) (int, error) {
	for i := range fs {
		fs[i].Egress = p.index
	}
	return p.Port.Send(fs)
}

func (p one) SetFilter(filter []bpf.RawInstruction) error { return p.Port.SetFilter(filter) }

func newRigOfAll(t *testing.T, cfg Config) conform.Rig {
	t.Helper()
	nstest.Veth(t, "near", "far")
	near := byName(t, "near")
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return conform.Rig{
		Port: one{p, near.Index}, Wire: conform.OpenWire(t, "far"), Index: near.Index, MTU: near.MTU,
		Offloads: !cfg.noOffloads, Cuts: true, VLAN: true,
		HostSend: func(b []byte) { sendByHost(t, near, b) },
	}
}

func TestAPortOfAllInterfacesConforms(t *testing.T) {
	for name, cfg := range map[string]Config{
		"latency": {}, "throughput": {Profile: Throughput},
		"capped": {bufferLimit: 100 << 10}, "without facts": {noOffloads: true},
	} {
		t.Run(name, func(t *testing.T) {
			conform.Run(t, func(t *testing.T) conform.Rig { return newRigOfAll(t, cfg) })
		})
	}
}

// Frames that leave by several interfaces in one Send keep their order on each,
// also where some interface needs another way out than the others.
func TestOneSendServesSeveralInterfaces(t *testing.T) {
	nstest.Veth(t, "a", "a1")
	nstest.Veth(t, "b", "b1")
	switchOff(t, "b", "tx-tcp-segmentation")
	p, err := Sender(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	wires := []conform.Wire{conform.OpenWire(t, "a1"), conform.OpenWire(t, "b1")}
	links := []int{byName(t, "a").Index, byName(t, "b").Index}
	const each = 100
	fs := make([]frame.Frame, 2*each)
	for i := range fs {
		b := conform.UDP(uint16(i/2), 18)
		fs[i].Reset(append(make([]byte, frame.Headroom), b...), frame.Headroom, frame.Headroom+len(b), len(b))
		fs[i].Egress = links[i%2]
	}
	if n, err := p.Send(fs); n != len(fs) || err != nil {
		t.Fatalf("Send = %d, %v", n, err)
	}
	for w, wire := range wires {
		got := wire.Wait(each)
		if len(got) != each {
			t.Fatalf("wire %d: %d frames, want %d", w, len(got), each)
		}
		for i, f := range got {
			if port := int(f.Bytes[34])<<8 | int(f.Bytes[35]); port != i {
				t.Fatalf("wire %d: frame %d is the one with port %d", w, i, port)
			}
		}
	}
}

// Whatever becomes of an interface, the port goes on: its name and MTU may
// change, it may go down and up, and one of the same name may come after it.
func TestAPortOfAllInterfacesOutlivesThem(t *testing.T) {
	nstest.Veth(t, "near", "far")
	p, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	wire := conform.OpenWire(t, "far")
	var tries uint16
	passes := func(name string, size int) {
		t.Helper()
		tries++
		near := one{p, byName(t, name).Index}
		want := porttest.Frame{Bytes: conform.UDP(tries, size)}
		defer sendUntilStopped(wire, want)()
		fs := make([]frame.Frame, 1)
		for first := true; first || [2]byte(fs[0].Bytes()[34:36]) != [2]byte(want.Bytes[34:36]); first = false {
			if n, err := near.Recv(fs); n != 1 || err != nil || fs[0].Cut() {
				t.Fatalf("Recv = %d, %v; want one frame of %d bytes", n, err, size)
			}
		}
		if fs[0].Len() != len(want.Bytes) {
			t.Fatalf("a frame of %d bytes arrives with %d", len(want.Bytes), fs[0].Len())
		}
		if n, err := near.Send(fs); n != 1 || err != nil {
			t.Fatalf("Send = %d, %v", n, err)
		}
	}
	passes("near", 100)
	near, err := netlink.LinkByName("near")
	if err != nil {
		t.Fatal(err)
	}
	far, err := netlink.LinkByName("far")
	if err != nil {
		t.Fatal(err)
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(netlink.LinkSetMTU(near, 9000))
	do(netlink.LinkSetMTU(far, 9000))
	passes("near", 8000)
	do(netlink.LinkSetDown(near))
	do(netlink.LinkSetName(near, "other"))
	do(netlink.LinkSetUp(near))
	passes("other", 8000)
	do(netlink.LinkDel(near))
	nstest.Veth(t, "near", "far")
	wire = conform.OpenWire(t, "far")
	passes("near", 100)
}

// sendUntilStopped puts a frame on a wire again and again until the function it
// returns is called: after its peer came up, an interface drops what it is to
// send until the kernel has noticed (net/core/link_watch.c).
func sendUntilStopped(wire conform.Wire, f porttest.Frame) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			wire.InjectFrames(f)
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// While an interface is down its frames are refused, and those of others are not.
func TestFramesForAnInterfaceThatIsDownAreRefused(t *testing.T) {
	nstest.Veth(t, "a", "a1")
	nstest.Veth(t, "b", "b1")
	p, err := Sender(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	wire := conform.OpenWire(t, "b1")
	send := func() (refused []bool) {
		t.Helper()
		fs := make([]frame.Frame, 4)
		for i := range fs {
			b := conform.UDP(uint16(i), 18)
			fs[i].Reset(append(make([]byte, frame.Headroom), b...), frame.Headroom, frame.Headroom+len(b), len(b))
			fs[i].Egress = byName(t, []string{"a", "b"}[i%2]).Index
		}
		if _, err := p.Send(fs); err != nil {
			t.Fatal(err)
		}
		for i := range fs {
			refused = append(refused, fs[i].Refused)
		}
		return refused
	}
	a, err := netlink.LinkByName("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(a); err != nil {
		t.Fatal(err)
	}
	if got := send(); !slices.Equal(got, []bool{true, false, true, false}) {
		t.Errorf("refused are %v, want the frames for a", got)
	}
	if s := p.Stats(); s.LinkDown != 2 || s.Refused != 2 {
		t.Errorf("%+v, want 2 refused for a link that is down", s)
	}
	if got := wire.Wait(2); len(got) != 2 {
		t.Errorf("%d frames of b arrived, want 2", len(got))
	}
	if err := netlink.LinkSetUp(a); err != nil {
		t.Fatal(err)
	}
	nstest.Eventually(t, "a sends again", func() bool { return !slices.Contains(send(), true) })
}

// A device whose queue is full refuses frames (ENOBUFS); when it has room again it takes
// them.
func TestFramesForAFullQueueAreRefused(t *testing.T) {
	nstest.Veth(t, "a", "a1")
	switchOff(t, "a", "tx-tcp-segmentation") // so that frames pass the queueing discipline
	a := byName(t, "a")
	slow := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: a.Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       100_000, Limit: 3000, Buffer: uint32(0.03 * 1e6 * netlink.TickInUsec()), // 3000 bytes at once
	}
	if err := netlink.QdiscAdd(slow); err != nil {
		t.Skipf("needs a queueing discipline with a rate (tbf): %v", err)
	}
	p, err := Sender(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	send := func() (refused bool) {
		b := conform.UDP(1, 1000)
		fs := make([]frame.Frame, 1)
		fs[0].Reset(append(make([]byte, frame.Headroom), b...), frame.Headroom, frame.Headroom+len(b), len(b))
		fs[0].Egress = a.Index
		if _, err := p.Send(fs); err != nil {
			t.Fatal(err)
		}
		return fs[0].Refused
	}
	nstest.Eventually(t, "the queue is full", send)
	if s := p.Stats(); s.NoBuffer != 1 {
		t.Errorf("%+v, want one refused for a full queue", s)
	}
	nstest.Eventually(t, "it has room again", func() bool { return !send() })
}

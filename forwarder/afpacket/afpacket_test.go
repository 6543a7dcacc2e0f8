package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder/filter"
	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
	"uvs/forwarder/porttest/conform"
	"uvs/internal/nstest"
)

// With a receive buffer that cannot hold copies every frame fits its slot.
func TestSuperFramesFitTheSlotsWhenTheReceiveBufferIsCapped(t *testing.T) {
	conform.Run(t, func(t *testing.T) conform.Rig {
		return newRig(t, Config{bufferLimit: 100 << 10})
	})
}

// Without PACKET_VNET_HDR facts are inferred and made good in software.
func TestConformanceWithoutOffloads(t *testing.T) {
	conform.Run(t, func(t *testing.T) conform.Rig {
		r := newRig(t, Config{noOffloads: true})
		if r.Port.(*Port).Offloads() {
			t.Fatal("the port has offloads")
		}
		r.Offloads = false
		return r
	})
}

func TestGroupKeepsAFlowOnOnePort(t *testing.T) {
	nstest.Veth(t, "near", "far")
	ports, err := OpenGroup(Config{Interface: byName(t, "near")}, 3)
	if err != nil {
		t.Fatal(err)
	}
	const flows, each = 64, 10
	wire := conform.OpenWire(t, "far")
	var mu sync.Mutex
	seen := map[uint16]int{} // source port to worker
	used := map[int]bool{}
	total := 0
	var workers sync.WaitGroup
	for i, p := range ports {
		workers.Go(func() {
			fs := make([]frame.Frame, 32)
			for {
				n, err := p.Recv(fs)
				if err != nil {
					return
				}
				mu.Lock()
				for j := range fs[:n] {
					port := binary.BigEndian.Uint16(fs[j].Bytes()[34:])
					if w, ok := seen[port]; ok && w != i {
						t.Errorf("flow %d seen by workers %d and %d", port, w, i)
					}
					seen[port], used[i] = i, true
				}
				total += n
				mu.Unlock()
			}
		})
	}
	for range each {
		for flow := range uint16(flows) {
			wire.InjectFrames(porttest.Frame{Bytes: conform.UDP(1000+flow, 18)})
		}
	}
	for range 200 {
		mu.Lock()
		done := total == flows*each
		mu.Unlock()
		if done {
			break
		}
		time.Sleep(5 * time.Millisecond) // real interfaces, real time
	}
	for _, p := range ports {
		_ = p.Close()
	}
	workers.Wait()
	if total != flows*each || len(used) < 2 {
		t.Errorf("%d of %d frames by %d of %d workers", total, flows*each, len(used), len(ports))
	}
}

// In a group the socket's own PACKET_IGNORE_OUTGOING has no effect.
func TestGroupDoesNotSeeOwnTransmissions(t *testing.T) {
	nstest.Veth(t, "near", "far")
	near := byName(t, "near")
	ports, err := OpenGroup(Config{Interface: near}, 2)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		sendByHost(t, near, conform.UDP(9, 18))
	}
	for _, p := range ports {
		if n := p.rx.ring.fill(0, make([]frame.Frame, 4)); n != 0 {
			t.Errorf("received %d frames that this host sent", n)
		}
		_ = p.Close()
	}
}

func TestRecvOutlivesALinkThatGoesDown(t *testing.T) {
	r := newRig(t, Config{})
	received := make(chan int, 1000)
	failed := make(chan error, 1)
	go func() {
		fs := make([]frame.Frame, 8)
		for {
			n, err := r.Port.Recv(fs)
			if err != nil {
				failed <- err
				return
			}
			received <- n
		}
	}()
	link, err := netlink.LinkByName("near")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	for back := false; !back; { // the carrier takes a moment
		r.Wire.InjectFrames(conform.Super())
		select {
		case <-received:
			back = true
		case err := <-failed:
			t.Fatalf("Recv: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	_ = r.Port.Close()
	if err := <-failed; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Recv = %v, want net.ErrClosed", err)
	}
	if cut := r.Port.(*Port).Stats().Cut; cut != 0 {
		t.Errorf("%d frames cut", cut)
	}
}

func TestSenderOnlySends(t *testing.T) {
	nstest.Veth(t, "near", "far")
	p, err := Sender(Config{Interface: byName(t, "near")})
	if err != nil {
		t.Fatal(err)
	}
	wire := conform.OpenWire(t, "far")
	if _, err := p.Recv(make([]frame.Frame, 1)); err == nil {
		t.Error("Recv works")
	}
	b := conform.UDP(1, 18)
	fs := make([]frame.Frame, 1)
	fs[0].Reset(b, 0, len(b), len(b))
	if n, err := p.Send(fs); n != 1 || err != nil {
		t.Errorf("Send = %d, %v", n, err)
	}
	if got := wire.Wait(1); len(got) != 1 {
		t.Errorf("%d frames on the wire, want 1", len(got))
	}
	_ = p.Close()
	if _, err := p.Send(fs); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Send after Close = %v, want net.ErrClosed", err)
	}
}

// A device that loses its segmentation offload under a running port still gets
// its super-frames, in segments.
func TestSendSurvivesSegmentationSwitchedOff(t *testing.T) {
	r := newRig(t, Config{})
	switchOff(t, "near", "tx-tcp-segmentation")
	s := conform.Super()
	fs := make([]frame.Frame, 1)
	fs[0].Reset(s.Bytes, 0, len(s.Bytes), len(s.Bytes))
	fs[0].Offload = s.Offload
	if n, err := r.Port.Send(fs); n != 1 || err != nil {
		t.Fatalf("Send = %d, %v", n, err)
	}
	total := 0
	for total < len(s.Bytes)-54 {
		got := r.Wire.Wait(1)
		if len(got) == 0 {
			t.Fatalf("only %d payload bytes on the wire", total)
		}
		total += len(got[0].Bytes) - 54
	}
}

func TestRingDropsAreCounted(t *testing.T) {
	r := newRig(t, Config{Slots: 64})
	p := r.Port.(*Port)
	frames := make([]porttest.Frame, 2*len(p.rx.ring.(*slotRing).offsets))
	for i := range frames {
		frames[i].Bytes = conform.UDP(uint16(i), 18)
	}
	r.Wire.InjectFrames(frames...)
	if got, want := p.Stats().RingDrops, uint64(len(frames)/2); got != want {
		t.Errorf("RingDrops = %d, want %d", got, want)
	}
	_ = p.Close()
	if got, want := p.Stats().RingDrops, uint64(len(frames)/2); got != want {
		t.Errorf("RingDrops after Close = %d, want %d", got, want)
	}
}

// A worker that is descheduled for 20 ms loses nothing at 250,000 frames a second.
// A ring of blocks also closes a block for its age, so frames that come slower need
// more of them: it is judged by frames that came within the 20 ms.
func TestRingHoldsTheFramesOfAStall(t *testing.T) {
	for _, profile := range []Profile{Latency, Throughput} {
		t.Run(profile.String(), func(t *testing.T) {
			for i := range 20 {
				var took time.Duration
				t.Run(fmt.Sprint("try ", i), func(t *testing.T) {
					took = stall(t, newRig(t, Config{Profile: profile}), profile == Latency)
				})
				if took <= stallTime || t.Failed() {
					return
				}
			}
			t.Log("this machine is too busy to send 250,000 frames a second")
		})
	}
}

const stallTime = 20 * time.Millisecond

// stall fills the ring before anything is received from it, and returns how long that
// took. However slowly the frames came, a strict ring must hold them.
func stall(t *testing.T, r conform.Rig, strict bool) (took time.Duration) {
	const frames, burst = 250_000 * int(stallTime/time.Millisecond) / 1000, 50
	began := time.Now()
	for range frames / burst {
		var all [burst]porttest.Frame
		for i := range all {
			all[i].Bytes = conform.UDP(uint16(i), 18)
		}
		r.Wire.InjectFrames(all[:]...)
	}
	took = time.Since(began)
	p, fs, got := r.Port.(*Port), make([]frame.Frame, 64), 0
	for got < frames && p.Stats().RingDrops == 0 {
		n, err := p.Recv(fs)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	if got != frames && (strict || took <= stallTime) {
		t.Errorf("%d of %d frames, %d lost", got, frames, p.Stats().RingDrops)
	}
	if strict {
		return 0
	}
	return took
}

func TestHostileFactsAreRefusedNotFatal(t *testing.T) {
	r := newRig(t, Config{})
	b := conform.UDP(1, 18)
	fs := make([]frame.Frame, 3)
	for i := range fs {
		fs[i].Reset(append(make([]byte, frame.Headroom), b...), frame.Headroom, frame.Headroom+len(b), len(b))
	}
	fs[0].Offload = frame.Offload{Flags: frame.OffloadPartial, CsumStart: 60000, CsumOffset: 6}
	fs[1].Offload = frame.Offload{GSOType: 77, GSOSize: 1}
	if n, err := r.Port.Send(fs); n != 1 || err != nil {
		t.Errorf("Send = %d, %v; want 1", n, err)
	}
	if s := r.Port.(*Port).Stats(); s.Refused != 2 || s.Sent != 1 {
		t.Errorf("%+v, want 2 refused, 1 sent", s)
	}
}

// The kernel's structures, as linux/if_packet.h has them.
func TestStructSizes(t *testing.T) {
	sizes := map[string][2]uintptr{
		"tpacket2_hdr":       {unsafe.Sizeof(unix.Tpacket2Hdr{}), 32},
		"tpacket3_hdr":       {unsafe.Sizeof(unix.Tpacket3Hdr{}), 48},
		"tpacket_block_desc": {uintptr(blockHeaderLen), 48},
		"mmsghdr":            {unsafe.Sizeof(unix.Mmsghdr{}), unsafe.Sizeof(unix.Msghdr{}) + unsafe.Sizeof(uintptr(0))},
	}
	for name, s := range sizes {
		if s[0] != s[1] {
			t.Errorf("struct %s has %d bytes, want %d", name, s[0], s[1])
		}
	}
}

func TestRingGeometry(t *testing.T) {
	tests := []struct {
		mtu, count, wantSlot int
	}{
		{1500, 4096, 1728},
		{9000, 4096, 9216},
		{frame.MaxLen, 512, 65792},
		{68, 1, 320},
	}
	for _, test := range tests {
		size := slotSize(test.mtu)
		if size != test.wantSlot {
			t.Errorf("slotSize(%d) = %d, want %d", test.mtu, size, test.wantSlot)
		}
		g := planRing(size, test.count)
		offsets := g.offsets()
		if len(offsets) < test.count || int(offsets[len(offsets)-1])+size > g.bytes() {
			t.Errorf("MTU %d: %d slots in %d bytes", test.mtu, len(offsets), g.bytes())
		}
		for i, o := range offsets {
			if int(o)/g.blockSize != (int(o)+size-1)/g.blockSize {
				t.Fatalf("MTU %d: slot %d crosses a block", test.mtu, i)
			}
		}
	}
}

func TestParseProfile(t *testing.T) {
	for _, p := range []Profile{Latency, Throughput} {
		if got, err := ParseProfile(p.String()); got != p || err != nil {
			t.Errorf("ParseProfile(%q) = %v, %v", p, got, err)
		}
	}
	if _, err := ParseProfile("fast"); err == nil {
		t.Error("a profile called fast exists")
	}
}

func TestKernelTakesTheLongestFilter(t *testing.T) {
	r := newRig(t, Config{})
	var ends filter.Ends
	for i := range 1900 {
		a := netip.AddrFrom4([4]byte{byte(i * 7), byte(i), byte(i >> 3), 1})
		ends.Virtual(filter.Tuple{Proto: 17, Addr: a, Port: uint16(i)}, true)
	}
	ends.Virtual(filter.Tuple{Proto: 17, Addr: netip.MustParseAddr("10.0.0.2"), Port: 53}, true)
	length := 0
	err := ends.Install(0, filter.Scope{}, func(prog []bpf.RawInstruction) error {
		length = len(prog)
		return r.Port.(*Port).SetFilter(prog)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d instructions", length)
	r.Wire.InjectFrames(porttest.Frame{Bytes: conform.UDP(1, 18)})
	if n, err := r.Port.Recv(make([]frame.Frame, 4)); n != 1 || err != nil {
		t.Errorf("Recv = %d, %v; want the frame to the service", n, err)
	}
}

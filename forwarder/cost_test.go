package forwarder

import (
	"slices"
	"strings"
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

// superOf returns a super-frame of the client.
func superOf(t testing.TB, vip string, data int, size uint16) porttest.Frame {
	return porttest.Frame{
		Bytes:   seg(t, 1, "172.16.0.9:30001", vip, frame.FlagACK, strings.Repeat("x", data)),
		Offload: frame.Offload{GSOType: frame.GSOTCP4, GSOSize: size},
	}
}

// take injects super-frames on the client's link and counts the frames that leave.
func (b *testbed) take(frames ...porttest.Frame) (n int) {
	b.t.Helper()
	b.mem.far[1].InjectFrames(frames...)
	return len(b.receive(1))
}

func TestAFrameCostsNoMoreThanASenderMakes(t *testing.T) {
	for _, c := range []struct {
		name, vip string
		data      int
		size      uint16
		mtu       int
		out       int
		drops     uint64
	}{
		{"by a tunnel, in segments of one byte", "10.2.0.3:80", 25000, 1, 1500, 0, 1},
		{"by a tunnel, in as many as may be", "10.2.0.3:80", 1366 * 10, 10, 1500, 1366, 0},
		{"by a tunnel, one more", "10.2.0.3:80", 1366*10 + 1, 10, 1500, 0, 1},
		{"by NAT, which leaves the splitting to the kernel", "10.2.0.1:80", 25000, 1, 1500, 0, 1},
		{"by NAT, an ordinary one stays whole", "10.2.0.1:80", 25000, 1400, 1500, 1, 0},
		{"by FULLNAT", "10.2.0.4:80", 25000, 1, 1500, 0, 1},
		{"by direct routing", "10.2.0.2:80", 25000, 1, 1500, 0, 1},
		{"whose segments must be cut again", "10.2.0.1:80", 20 * 1400, 1400, 800, 40, 0},
		{"whose many segments must be cut again", "10.2.0.1:80", 60000, 40, 68, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTestbed(t, byAllMethods)
			b.net.mtu = map[string]int{"r0": c.mtu}
			b.take(porttest.Frame{Bytes: seg(t, 1, "172.16.0.9:30001", c.vip, frame.FlagSYN, "")})
			if n := b.take(superOf(t, c.vip, c.data, c.size)); n != c.out {
				t.Errorf("%d frames leave, want %d", n, c.out)
			}
			if n := b.verdict(frame.DropSegments); n != c.drops {
				t.Errorf("drop-segments counts %d, want %d", n, c.drops)
			}
		})
	}
}

// Hostile frames delay the frames behind them by a bounded time, however many there are.
func TestABatchCostsNoMoreThanABound(t *testing.T) {
	b := newTestbed(t, byAllMethods)
	b.take(porttest.Frame{Bytes: seg(t, 1, "172.16.0.9:30001", "10.2.0.3:80", frame.FlagSYN, "")})
	hostile := superOf(t, "10.2.0.3:80", 1366, 1)
	var all []porttest.Frame
	for range batchSize - 1 {
		all = append(all, hostile)
	}
	b.take(append(all, porttest.Frame{Bytes: seg(t, 1, "172.16.0.10:30001", "10.2.0.2:80", frame.FlagSYN, "")})...)
	if n, want := b.verdict(frame.DropNoMemory), uint64(batchSize-1-arenaFrames/1366); n != want {
		t.Errorf("drop-no-memory counts %d, want %d", n, want)
	}
	if n := b.fw.conns.Len(); n != 2 {
		t.Errorf("%d connections: the last frame of the batch opened none", n)
	}
	if n := b.take(hostile); n != 1366 {
		t.Errorf("of the next batch %d leave, want 1366", n)
	}
}

// The fragment that completes a datagram is answered for by as many as arrived: at most
// 64 KiB in fragments of the smallest MTU.
func TestAFragmentCostsNoMoreThanItsDatagram(t *testing.T) {
	for _, c := range []struct {
		name     string
		data, in int // bytes of the datagram, and of each fragment
		out      int
	}{
		{"a datagram in the most fragments", 65500, 48, 1365},
		{"in more, it is given up", 8 * 1367, 8, 0},
	} {
		b := newTestbed(t, byAllMethods)
		whole := dgram(t, 1, "172.16.0.9:1000", "10.2.0.1:80", strings.Repeat("x", c.data-8))
		n := len(whole) - frame.EthernetLen - plainHeader
		out := 0
		var pieces [][]byte
		for at := 0; at < n; at += c.in {
			pieces = append(pieces, piece(whole, at, min(c.in, n-at)))
		}
		for some := range slices.Chunk(pieces, batchSize) {
			out += len(b.send(1, some...))
		}
		if out != c.out {
			t.Errorf("%s: %d fragments leave, want %d", c.name, out, c.out)
		}
	}
}

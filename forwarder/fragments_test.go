package forwarder

import (
	"testing"
	"time"

	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

func TestEachFragmentHasOneVerdict(t *testing.T) {
	// piece is 16 bytes of a datagram to a service; the first holds the ports.
	piece := func(offset int, more bool, id uint16) []byte {
		data := make([]byte, 16)
		if offset == 0 {
			copy(data, []byte{0x75, 0x31, 0, 53, 0, 48, 0, 0}) // 30001 to 53, 48 bytes, no checksum
		}
		return onLink(1, frametest.Packet{Src: "172.16.0.9", Dst: "10.2.0.1", ID: id, Offset: offset, MoreFragments: more,
			Proto: layers.IPProtocolUDP, Data: string(data)})
	}
	first, second, third := piece(0, true, 7), piece(16, true, 7), piece(32, false, 7)
	for _, c := range []struct {
		what   string
		frames [][]byte
		wait   time.Duration
		want   map[frame.Verdict]uint64
	}{
		{"whole", [][]byte{third, first, second}, 0, map[frame.Verdict]uint64{frame.Forward: 3}},
		{"one came twice", [][]byte{third, first, first, second}, 0, map[frame.Verdict]uint64{frame.Forward: 3, frame.DropFragmentDup: 1}},
		{"not all came", [][]byte{third, first}, frame.FragmentTimeout, map[frame.Verdict]uint64{frame.DropFragmentTimeout: 2}},
		{"two overlap", [][]byte{first, second, piece(24, false, 7)}, 0, map[frame.Verdict]uint64{frame.DropFragmentBad: 3}},
		{"two datagrams", [][]byte{first, piece(0, true, 8), second, third}, 0, map[frame.Verdict]uint64{frame.Forward: 3}},
	} {
		b := newTestbed(t, twoByNAT)
		b.send(1, c.frames...)
		w := b.workers[1]
		w.frags.Expire(w.clock + c.wait)
		w.expireFragments()
		w.counters.publish(b.fw, w.account, w.frags.Waiting())
		for v, n := range c.want {
			if got := b.verdict(v); got != n {
				t.Errorf("%s: %d counted as %s, want %d", c.what, got, v, n)
			}
		}
		if n := b.total() + b.waiting(); n != uint64(len(c.frames)) {
			t.Errorf("%s: %d verdicts for %d fragments", c.what, n, len(c.frames))
		}
	}
}

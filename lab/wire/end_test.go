package wire

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/internal/nstest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// taken returns the frames that a received one is on the wire.
func taken(t *testing.T, b []byte, facts frame.Offload, oob []byte) (all [][]byte, offloads []frame.Offload) {
	t.Helper()
	e := &end{buf: make([]byte, frame.Headroom+frame.MaxLen)}
	facts.Encode(e.buf[frame.Headroom-frame.OffloadLen:])
	copy(e.buf[frame.Headroom:], b)
	l := newLine(t, "", 1)
	e.take(l, len(b), oob)
	now := time.Now().Add(time.Second)
	for p := l.pop(now); p != nil; p = l.pop(now) {
		var o frame.Offload
		o.Decode(p.b)
		all, offloads = append(all, bytes.Clone(p.frame())), append(offloads, o)
		l.done(p, true)
	}
	return all, offloads
}

// segment is a TCP segment of so many bytes, with only the pseudo-header in its checksum.
func segment(t *testing.T, n int) ([]byte, frame.Offload) {
	t.Helper()
	b := frametest.Build(t,
		&layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 1, 0}, DstMAC: []byte{2, 0, 0, 0, 2, 0}, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2}},
		&layers.TCP{SrcPort: 1, DstPort: 2, ACK: true}, gopacket.Payload(bytes.Repeat([]byte("x"), n)))
	sum := frame.Fold(frame.PseudoSum(b[26:30], b[30:34], frame.ProtoTCP, 20+n))
	binary.BigEndian.PutUint16(b[50:], sum)
	return b, frame.Offload{Flags: frame.OffloadPartial, CsumStart: 34, CsumOffset: 16}
}

// auxdata is the control message with a VLAN tag.
func auxdata(tci uint16) []byte {
	b := make([]byte, 16+24)
	binary.NativeEndian.PutUint64(b, 16+20)
	binary.NativeEndian.PutUint32(b[8:], 263)   // SOL_PACKET
	binary.NativeEndian.PutUint32(b[12:], 8)    // PACKET_AUXDATA
	binary.NativeEndian.PutUint32(b[16:], 0x50) // the tag and its EtherType are valid
	binary.NativeEndian.PutUint16(b[32:], tci)
	binary.NativeEndian.PutUint16(b[34:], 0x88a8)
	return b
}

func TestFramesAreWholeOnTheWire(t *testing.T) {
	small, facts := segment(t, 100)
	big, bigFacts := segment(t, 5000)
	bigFacts.GSOType, bigFacts.GSOSize = frame.GSOTCP4, 1448
	for _, c := range []struct {
		name  string
		b     []byte
		facts frame.Offload
		oob   []byte
		want  []int // lengths
	}{
		{"a partial checksum is completed", small, facts, nil, []int{154}},
		{"a super-frame is split", big, bigFacts, nil, []int{1502, 1502, 1502, 710}},
		{"a tag is put back into its frame", small, facts, auxdata(7), []int{158}},
		{"and into each segment", big, bigFacts, auxdata(7), []int{1506, 1506, 1506, 714}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, offloads := taken(t, c.b, c.facts, c.oob)
			var lengths []int
			for i, b := range all {
				lengths = append(lengths, len(b))
				if offloads[i] != (frame.Offload{}) {
					t.Errorf("frame %d leaves something to do: %+v", i, offloads[i])
				}
				if c.oob != nil {
					if !bytes.Equal(b[12:16], []byte{0x88, 0xa8, 0, 7}) {
						t.Errorf("frame %d has the tag %x", i, b[12:16])
					}
					b = slices.Delete(b, 12, 16)
				}
				if err := frametest.Check(b, layers.LayerTypeEthernet); err != nil {
					t.Error(err)
				}
			}
			if !slices.Equal(lengths, c.want) {
				t.Errorf("lengths %v, want %v", lengths, c.want)
			}
		})
	}
}

// What cannot be split here is split by the kernel, which is told the same about it.
func TestSegmentsInATunnelStayOneFrame(t *testing.T) {
	inner, _ := segment(t, 5000)
	b := frametest.Build(t,
		&layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 1, 0}, DstMAC: []byte{2, 0, 0, 0, 2, 0}, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolIPv4, SrcIP: []byte{10, 1, 0, 1}, DstIP: []byte{10, 1, 0, 2}},
		gopacket.Payload(inner[14:]))
	facts := frame.Offload{Flags: frame.OffloadPartial, CsumStart: 54, CsumOffset: 16, GSOType: frame.GSOTCP4, GSOSize: 1428, HeaderLen: 74}
	all, offloads := taken(t, b, facts, nil)
	if len(all) != 1 || !bytes.Equal(all[0], b) || offloads[0] != facts {
		t.Fatalf("%d frames, %+v; want one, %+v", len(all), offloads, facts)
	}
	facts.CsumStart, facts.HeaderLen = 58, 78
	if all, offloads = taken(t, b, frame.Offload{Flags: frame.OffloadPartial, CsumStart: 54, CsumOffset: 16,
		GSOType: frame.GSOTCP4, GSOSize: 1428, HeaderLen: 74}, auxdata(7)); len(all) != 1 || offloads[0] != facts {
		t.Fatalf("with a tag: %d frames, %+v; want %+v", len(all), offloads, facts)
	}
}

// recvmsg fails with EINVAL when the kernel cannot describe a frame's offload. So it does on a
// stream socket that is not connected.
func TestAFrameThatTheKernelCannotDescribeIsCounted(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	e, l := &end{fd: fd, buf: make([]byte, frame.Headroom+frame.MaxLen), oob: make([]byte, 256)}, newLine(t, "", 1)
	defer e.close()
	if more := e.receive(l, 3); !more || l.count != (Counters{Arrived: 3, Undelivered: 3}) {
		t.Errorf("more to receive: %t; %+v", more, l.count)
	}
}

func TestAVLANTagPasses(t *testing.T) {
	b := newBed(t)
	b.wire("delay=0", 1)
	sent := append([]byte{2, 0, 0, 0, 2, 0, 2, 0, 0, 0, 1, 0, 0x81, 0, 0x20, 7, 0x88, 0xb5}, "in a VLAN"...)
	var there, here *end
	open := func(n *nstest.Node) (e *end) {
		n.Link("eth0", func(l netlink.Link) (err error) { e, err = openEnd(l.Attrs().Index); return err })
		t.Cleanup(e.close)
		return e
	}
	there, here = open(b.right), open(b.left)
	if err := there.bind(unix.ETH_P_ALL); err != nil {
		t.Fatal(err)
	}
	if !here.send(&parcel{b: append(make([]byte, 10), sent...)}) {
		t.Fatal("not sent")
	}
	got := newLine(t, "", 1)
	nstest.Eventually(t, "the frame with its tag arrives", func() bool {
		there.receive(got, 1)
		p := got.pop(time.Now())
		return p != nil && bytes.Equal(p.frame(), sent)
	})
}

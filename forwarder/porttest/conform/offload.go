package conform

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/forwarder/porttest"
)

const segmentSize = 1448

// UDP makes a UDP frame from a port with so many payload bytes.
func UDP(port uint16, payload int) []byte { return build(port, 53, &layers.UDP{}, payload) }

func build(src, dst uint16, l4 gopacket.SerializableLayer, payload int) []byte {
	data := make([]byte, payload)
	for i := range data {
		data[i] = byte(i * 7)
	}
	return frametest.Packet{SrcMAC: [6]byte(clientMAC), DstMAC: [6]byte(serverMAC), Src: fmt.Sprintf("10.0.0.1:%d", src), Dst: fmt.Sprintf("10.0.0.2:%d", dst),
		Transport: l4, Data: string(data)}.Bytes()
}

// partial replaces the checksum at offset at of the transport header by the sum
// of the pseudo-header, as a stack with checksum offload leaves it.
func partial(b []byte, proto uint8, at int) porttest.Frame {
	l4 := b[34:]
	sum := frame.Fold(frame.PseudoSum(b[26:30], b[30:34], proto, len(l4)))
	l4[at], l4[at+1] = byte(sum>>8), byte(sum)
	return porttest.Frame{Bytes: b, Offload: frame.Offload{
		Flags: frame.OffloadPartial, CsumStart: 34, CsumOffset: uint16(at),
	}}
}

// Super is the largest TCP super-frame an interface passes undivided: 65,535
// bytes with its Ethernet header (gso_features_check in net/core/dev.c).
func Super() porttest.Frame {
	f := partial(build(1, 2, frametest.TCP(frame.FlagACK, 1000, 0), 65535-54), frame.ProtoTCP, 16)
	f.Offload.GSOType, f.Offload.GSOSize, f.Offload.HeaderLen = frame.GSOTCP4, segmentSize, 54
	return f
}

func testSuper(t *testing.T, r Rig) {
	want := Super()
	if r.Offloads {
		r.Wire.InjectFrames(want)
		got := recv(t, r, 1)[0]
		if !bytes.Equal(got.Bytes, want.Bytes) {
			t.Fatalf("received %d bytes, not the %d sent", len(got.Bytes), len(want.Bytes))
		}
		checkFacts(t, got.Offload, want.Offload)
	}
	if n := send(t, r, Super()); n != 1 {
		t.Fatalf("Send = %d, want 1", n)
	}
	if r.Offloads {
		got := wait(t, r, 1)[0]
		if !bytes.Equal(got.Bytes, want.Bytes) {
			t.Fatalf("%d bytes on the wire, not the %d sent", len(got.Bytes), len(want.Bytes))
		}
		checkFacts(t, got.Offload, want.Offload)
		return
	}
	payload := want.Bytes[54:]
	segments := (len(payload) + segmentSize - 1) / segmentSize
	var got []byte
	for _, f := range wait(t, r, segments) {
		got = append(got, checksumOK(t, f.Bytes)...)
	}
	if !bytes.Equal(got, payload) {
		t.Error("the segments do not make up the data")
	}
}

// checkFacts compares what has to be kept. HeaderLen is a hint only.
func checkFacts(t *testing.T, got, want frame.Offload) {
	t.Helper()
	got.HeaderLen, want.HeaderLen = 0, 0
	if got != want {
		t.Errorf("facts %+v, want %+v", got, want)
	}
}

func testManySupers(t *testing.T, r Rig) {
	if !r.Offloads {
		t.Skip("the port has no super-frames")
	}
	const count = 40
	frames := make([]porttest.Frame, 0, 2*count)
	for i := range count {
		s := Super()
		s.Bytes[41] = byte(i) // last byte of the sequence number
		frames = append(frames, s, ordinary(UDP(uint16(i), 18)))
	}
	r.Wire.InjectFrames(frames...)
	for i, f := range recv(t, r, len(frames)) {
		if !sameIP(f.Bytes, frames[i].Bytes) {
			t.Fatalf("frame %d of %d bytes is not the one sent", i, len(f.Bytes))
		}
	}
}

func testPartial(t *testing.T, r Rig) {
	want := partial(UDP(5, 100), frame.ProtoUDP, 6)
	r.Wire.InjectFrames(want)
	got := recv(t, r, 1)[0]
	if r.Offloads {
		checkFacts(t, got.Offload, want.Offload)
	} else if !got.Offload.Partial() {
		checksumOK(t, got.Bytes)
	}
	if n := send(t, r, got); n != 1 {
		t.Fatalf("Send = %d, want 1", n)
	}
	sent := wait(t, r, 1)[0]
	if sent.Offload.Partial() {
		checkFacts(t, sent.Offload, want.Offload)
		return
	}
	checksumOK(t, sent.Bytes)
}

// checksumOK has gopacket recompute the frame's checksums, and returns the data
// of its transport protocol.
func checksumOK(t *testing.T, b []byte) []byte {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if err := frametest.Check(b, layers.LayerTypeEthernet); err != nil || p.TransportLayer() == nil {
		t.Fatalf("not a right TCP or UDP packet: %v", err)
	}
	return p.TransportLayer().LayerPayload()
}

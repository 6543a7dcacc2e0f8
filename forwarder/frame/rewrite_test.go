package frame

import (
	"bytes"
	"encoding/binary"
	"testing"

	"uvs/forwarder/frame/frametest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"
)

// TestIncrementalIsFull is the main property of checksum.go: after any rewriting the checksums
// are those that gopacket computes from scratch.
func TestIncrementalIsFull(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v6, udp := rapid.Bool().Draw(rt, "v6"), rapid.Bool().Draw(rt, "udp")
		data := rapid.SliceOfN(rapid.Byte(), 4, 200).Draw(rt, "data")
		f := plain(t, v6, udp, data)
		part := rapid.Bool().Draw(rt, "partial")
		if part {
			makePartial(f)
		}
		for range rapid.IntRange(1, 6).Draw(rt, "steps") {
			step(rt, f)
		}
		f.CompleteChecksum()
		sums(t, f.Bytes())
	})
}

func plain(t testing.TB, v6, udp bool, data []byte) *Frame {
	proto, e := layers.IPProtocolTCP, layers.EthernetTypeIPv4
	var l4 gopacket.SerializableLayer = &layers.TCP{SrcPort: 1025, DstPort: 80, ACK: true}
	if udp {
		proto, l4 = layers.IPProtocolUDP, &layers.UDP{SrcPort: 1025, DstPort: 80}
	}
	var ip gopacket.SerializableLayer = ip4(proto)
	if v6 {
		e, ip = layers.EthernetTypeIPv6, ip6(proto)
	}
	return parsed(t, frametest.Build(t, eth(e), ip, l4, gopacket.Payload(data)))
}

// makePartial leaves the checksum as a sender with offload does.
func makePartial(f *Frame) {
	at, _ := l4ChecksumOffset(f.Info.Proto)
	src, dst := f.addresses()
	f.Offload.Flags, f.Offload.CsumStart, f.Offload.CsumOffset = OffloadPartial, uint16(f.l4-f.start), uint16(at)
	binary.BigEndian.PutUint16(f.L4()[at:], Fold(PseudoSum(src, dst, f.Info.Proto, len(f.L4()))))
}

// step makes one change.
func step(rt *rapid.T, f *Frame) {
	addr := [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(rt, "address"))
	port := rapid.Uint16().Draw(rt, "port")
	header := 8
	if f.Info.Proto == ProtoTCP {
		header = int(f.L4()[12]>>4) * 4
	}
	switch rapid.IntRange(0, 5).Draw(rt, "what") {
	case 0:
		f.SetSource(&addr, port)
	case 1:
		f.SetDestination(&addr, port)
	case 2:
		f.DecrementTTL()
	case 3:
		n := rapid.IntRange(1, min(16, len(f.L4())-header)).Draw(rt, "length")
		f.SetL4(rapid.IntRange(header, len(f.L4())-n).Draw(rt, "at"), addr[:n])
	case 4:
		if f.Info.Proto == ProtoTCP {
			f.InsertTCPOption([]byte{254, 8, 1, 2, 3, 4, 5, 6})
		}
	case 5:
		if f.Is4() {
			f.SetID(port)
		}
	}
}

func TestDecrementTTL(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		f := plain(t, v6, true, nil)
		at := f.l3 + 8
		if v6 {
			at = f.l3 + 7
		}
		for want := 63; want >= 1; want-- {
			if !f.DecrementTTL() || int(f.buf[at]) != want || int(f.Info.TTL) != want {
				t.Fatalf("TTL %d, want %d", f.buf[at], want)
			}
			sums(t, f.Bytes())
		}
		before := bytes.Clone(f.Bytes())
		if f.DecrementTTL() || !bytes.Equal(before, f.Bytes()) {
			t.Error("TTL 1 was lowered")
		}
	}
}

func TestInsertTCPOptionRefuses(t *testing.T) {
	full := &layers.TCP{SrcPort: 1, DstPort: 2, ACK: true, Options: []layers.TCPOption{{OptionType: 8, OptionLength: 34, OptionData: make([]byte, 32)}}}
	f := parsed(t, frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(6), full))
	before := bytes.Clone(f.Bytes())
	if f.InsertTCPOption(make([]byte, 8)) {
		t.Error("a TCP header of more than 60 bytes")
	}
	tight := plain(t, false, false, nil)
	tight.Reset(bytes.Clone(tight.Bytes()), 0, tight.Len(), tight.Len())
	var p Parser
	p.Parse(tight)
	if tight.InsertTCPOption(make([]byte, 8)) {
		t.Error("no head-room and yet inserted")
	}
	if !bytes.Equal(before, f.Bytes()) {
		t.Error("a refused frame changed")
	}
}

// TestPartialFurtherIn: an encapsulated UDP packet may have a partial checksum while the outer
// one is complete.
func TestPartialFurtherIn(t *testing.T) {
	f := plain(t, false, true, pattern(100))
	f.Offload.Flags, f.Offload.CsumStart, f.Offload.CsumOffset = OffloadPartial, uint16(f.l4-f.start)+48, 16
	f.SetDestination(&[16]byte{10: 255, 11: 255, 12: 10, 15: 7}, 99)
	f.Offload = Offload{}
	sums(t, f.Bytes())
}

// TestSCTP: the CRC32c follows a changed port, and is never left to hardware.
func TestSCTP(t *testing.T) {
	b := frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(132), &layers.SCTP{SrcPort: 1025, DstPort: 2905}, gopacket.Payload(pattern(21)))
	for _, part := range []bool{false, true} {
		f := parsed(t, b)
		if part {
			f.Offload.Flags, f.Offload.CsumStart, f.Offload.CsumOffset = OffloadPartial, uint16(f.l4-f.start), 8
			clear(f.L4()[8:12])
		}
		f.SetDestination(&[16]byte{10: 255, 11: 255, 12: 10, 15: 7}, 2906)
		if f.Offload.Partial() {
			t.Error("left partial")
		}
		want := bytes.Clone(f.Bytes())
		again := frametest.Build(t, eth(layers.EthernetTypeIPv4), ip4(132), &layers.SCTP{SrcPort: 1025, DstPort: 2906}, gopacket.Payload(pattern(21)))
		if !bytes.Equal(want[34:], again[34:]) {
			t.Errorf("SCTP packet\n%x, gopacket writes\n%x", want[34:], again[34:])
		}
	}
}

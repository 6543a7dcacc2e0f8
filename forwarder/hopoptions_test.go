package forwarder

import (
	"encoding/binary"
	"fmt"
	"testing"

	"uvs/forwarder/frame"
)

// hopOptioned puts a hop-by-hop header of 8 bytes before what an IPv6 packet carries.
func hopOptioned(b []byte, options ...byte) []byte {
	header := append([]byte{b[20], 0}, options...)
	out := append(append(append([]byte{}, b[:54]...), header...), b[54:]...)
	out[20] = frame.ProtoHopByHop
	binary.BigEndian.PutUint16(out[18:], binary.BigEndian.Uint16(out[18:])+uint16(len(header)))
	return out
}

// Linux 6.1 did the same with these packets (exthdrs.c).
func TestHopByHopOptionsAreJudged(t *testing.T) {
	var rules string
	for i, method := range []string{"-m", "-g", "-i", "--fullnat"} {
		rules += fmt.Sprintf("-A -t [fd00:2::%d]:80 -s rr\n-a -t [fd00:2::%d]:80 -r [fd00:1::1]:80 %s\n", i+1, i+1, method)
	}
	b := newTestbed(t, rules)
	for i := range 4 {
		packet := func(options ...byte) []byte {
			return hopOptioned(seg(t, 1, "[fd00:c::9]:1000", fmt.Sprintf("[fd00:2::%d]:80", i+1), syn, ""), options...)
		}
		b.expectVerdict("padding that is not zero", frame.DropIPOptions, 1, packet(1, 4, 0, 7, 0, 0))
		b.expectVerdict("an unknown option that drops", frame.DropIPOptions, 1, packet(0x7e, 4, 0, 0, 0, 0))
		out := b.send(1, packet(0xbe, 4, 0, 0, 0, 0))
		if len(out) != 1 || out[0].link != 1 || out[0].b[54] != 4 || out[0].b[55] != 2 || out[0].b[61] != 42 {
			t.Errorf("method %d: %v, want an ICMPv6 parameter problem with code 2 at byte 42", i, out)
		} else {
			judge(t, out[0].b)
		}
		if n := b.fw.conns.Len(); n != i {
			t.Fatalf("method %d: %d connections, want %d", i, n, i)
		}
		if out := b.send(1, packet(0x3e, 4, 0, 0, 0, 0)); len(out) != 1 || out[0].link != 2 {
			t.Errorf("method %d: %v, want what has an option to be skipped at the server", i, out)
		}
	}
}

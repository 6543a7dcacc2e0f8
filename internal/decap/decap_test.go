package decap

import (
	"bytes"
	"encoding/binary"
	"io"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

// packet4 is a TCP segment from a client to the VIP.
func packet4(tos byte) []byte {
	return frametest.Packet{Src: "100.0.0.6:40000", Dst: "172.16.253.63:80", TTL: 63, TOS: tos,
		Transport: frametest.TCP(frame.FlagPSH|frame.FlagACK, 7, 0), Data: "GET / HTTP/1.1\r\n\r\n"}.Bytes()
}

func packet6(class byte) []byte {
	return frametest.Packet{Src: "[2001:db8::6]:40000", Dst: "[2001:db8:1::63]:53", TTL: 63, TOS: class,
		Transport: &layers.UDP{}, Data: "question"}.Bytes()
}

// partial leaves the checksum as a sender with checksum offload does.
func partial(b []byte) []byte {
	b = bytes.Clone(b)
	l4, proto, src, dst := transport(b)
	at := map[byte]int{frame.ProtoTCP: 16, frame.ProtoUDP: 6}[proto]
	binary.BigEndian.PutUint16(l4[at:], frame.Fold(frame.PseudoSum(src, dst, proto, len(l4))))
	return b
}

func greHeader(proto uint16, inner []byte, sum bool, extra ...byte) []byte {
	h := []byte{0, 0, byte(proto >> 8), byte(proto)}
	if sum {
		h[0] |= 0x80
		h = append(h, 0, 0, 0, 0)
	}
	h = append(h, extra...)
	b := append(h, inner...)
	if sum {
		binary.BigEndian.PutUint16(b[4:], frame.Checksum(b))
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// sink stores the packets that would go to the host.
type sink struct {
	got   []byte
	fails int // how many of each packet's one write fail
}

func (s *sink) inject(ps [][]byte) (failed int) {
	for _, p := range ps {
		s.got = bytes.Clone(p[room:])
		failed += s.fails
	}
	return failed
}
func (s *sink) Close() error { return nil }

// arrives returns a packet as a source reads it.
func arrives(payload []byte, tos byte, src netip.Addr) []outer {
	b := append(make([]byte, room), payload...)
	return []outer{{buf: b, payload: b[room:], tos: tos, src: src}}
}

// gueHeader is a GUE header with its optional words.
func gueHeader(proto byte, flags uint16, words ...uint32) []byte {
	h := []byte{byte(len(words)), proto, byte(flags >> 8), byte(flags)}
	for _, w := range words {
		h = binary.BigEndian.AppendUint32(h, w)
	}
	return h
}

func TestWhatIsInsideReachesTheHost(t *testing.T) {
	tcp, udp := packet4(0), packet6(0)
	long := bytes.Clone(tcp)
	binary.BigEndian.PutUint16(long[2:], uint16(len(long)+1))
	corrupt := greHeader(0x0800, tcp, true)
	corrupt[len(corrupt)-1] ^= 1
	for _, c := range []struct {
		name   string
		unwrap func([]byte) ([]byte, error)
		tos    byte
		in     []byte
		want   []byte // nil: dropped
		count  string
	}{
		{"IPv4 in IP arrives as it was", plain, 0, tcp, tcp, "delivered"},
		{"IPv6 in IP arrives as it was", plain, 0, udp, udp, "delivered"},
		{"padding behind the packet is cut off", plain, 0, join(tcp, make([]byte, 9)), tcp, "delivered"},
		{"GRE without options", gre, 0, greHeader(0x0800, tcp, false), tcp, "delivered"},
		{"GRE with IPv6 inside", gre, 0, greHeader(0x86dd, udp, false), udp, "delivered"},
		{"GRE with its checksum", gre, 0, greHeader(0x0800, tcp, true), tcp, "delivered"},
		{"GUE version 0", gue, 0, join(gueHeader(4, 0), tcp), tcp, "delivered"},
		{"GUE version 0 with IPv6 inside", gue, 0, join(gueHeader(41, 0), udp), udp, "delivered"},
		{"GUE version 1 is the packet itself", gue, 0, tcp, tcp, "delivered"},
		{"GUE with a checksum to compute here", gue, 0, join(gueHeader(4, 1, 0x80000000, 20<<16|36), partial(tcp)), tcp, "delivered"},
		{"GUE with private flags we need not know", gue, 0, join(gueHeader(4, 1, 1), tcp), tcp, "delivered"},
		{"a partial TCP checksum is completed", plain, 0, partial(tcp), tcp, "delivered"},
		{"a partial UDP checksum is completed", plain, 0, partial(udp), udp, "delivered"},
		{"a congestion mark outside is carried inside", plain, 3, packet4(2), packet4(3), "delivered"},
		{"and so in IPv6", plain, 3, packet6(1), packet6(3), "delivered"},
		{"no mark outside leaves the inner one", plain, 2, packet4(3), packet4(3), "delivered"},

		{"a congestion mark that cannot be told drops", plain, 3, tcp, nil, "congested"},
		{"nothing inside", plain, 0, nil, nil, "malformed"},
		{"less than a header inside", plain, 0, tcp[:19], nil, "malformed"},
		{"a packet cut short", plain, 0, tcp[:len(tcp)-1], nil, "malformed"},
		{"a length beyond the end", plain, 0, long, nil, "malformed"},
		{"an IP version that is none", plain, 0, join([]byte{0x55}, tcp[1:]), nil, "malformed"},
		{"a header length below 20", plain, 0, join([]byte{0x44}, tcp[1:]), nil, "malformed"},
		{"IPv6 cut in its header", plain, 0, udp[:39], nil, "malformed"},
		{"GRE cut in its header", gre, 0, []byte{0, 0, 8}, nil, "malformed"},
		{"GRE version 1", gre, 0, join([]byte{0, 1, 8, 0}, tcp), nil, "malformed"},
		{"GRE of something else", gre, 0, greHeader(0x6558, tcp, false), nil, "malformed"},
		{"GRE with a wrong checksum", gre, 0, corrupt, nil, "malformed"},
		{"GUE control message", gue, 0, join([]byte{0x20, 4, 0, 0}, tcp), nil, "malformed"},
		{"GUE of something else", gue, 0, join(gueHeader(17, 0), tcp), nil, "malformed"},
		{"GUE with a header beyond the end", gue, 0, []byte{31, 4, 0, 0}, nil, "malformed"},
		{"GUE with a checksum field beyond the end", gue, 0, join(gueHeader(4, 1, 0x80000000, 20<<16|2000), tcp), nil, "malformed"},
		{"GUE with a checksum field before its start", gue, 0, join(gueHeader(4, 1, 0x80000000, 20<<16|10), tcp), nil, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			host := &sink{}
			d := newTest(host)
			d.deliver(&source{unwrap: c.unwrap}, arrives(c.in, c.tos, netip.Addr{}))
			if diff := cmp.Diff(c.want, host.got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			if got := counted(d); got != c.count {
				t.Errorf("counted as %q, want %q", got, c.count)
			}
		})
	}
}

func TestGREKeyAndSequenceAreSkipped(t *testing.T) {
	tcp := packet4(0)
	b := greHeader(0x0800, tcp, false, 1, 2, 3, 4, 5, 6, 7, 8)
	b[0] |= 0x30
	got, err := gre(b)
	if err != nil || !bytes.Equal(got, tcp) {
		t.Errorf("got %x, %v", got, err)
	}
}

func TestOnlyTheDirectorsNamedMaySend(t *testing.T) {
	host := &sink{}
	d := newTest(host)
	d.From = []netip.Prefix{netip.MustParsePrefix("172.16.0.0/16"), netip.MustParsePrefix("2001:db8::1/128")}
	for _, c := range []struct {
		src  string
		want bool
	}{{"172.16.253.130", true}, {"2001:db8::1", true}, {"172.17.0.1", false}, {"2001:db8::2", false}} {
		host.got = nil
		d.deliver(&source{unwrap: plain}, arrives(packet4(0), 0, netip.MustParseAddr(c.src)))
		if got := host.got != nil; got != c.want {
			t.Errorf("from %s accepted %v, want %v", c.src, got, c.want)
		}
	}
	if n := d.Refused.Load(); n != 2 {
		t.Errorf("counted %d refused, want 2", n)
	}
}

func TestWhatTheHostDoesNotTakeIsCounted(t *testing.T) {
	d := newTest(&sink{fails: 1})
	d.deliver(&source{unwrap: plain}, arrives(packet4(0), 0, netip.Addr{}))
	if got := counted(d); got != "failed" {
		t.Errorf("counted as %q", got)
	}
}

func newTest(to injector) *decapsulator {
	return &decapsulator{Config: Config{Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, to: to}
}

// counted names the one counter that is not zero.
func counted(d *decapsulator) string {
	name := ""
	for k, n := range map[string]uint64{
		"delivered": d.Delivered.Load(), "malformed": d.Malformed.Load(), "refused": d.Refused.Load(),
		"congested": d.Congested.Load(), "failed": d.Failed.Load(),
	} {
		if n > 0 {
			name += k
		}
	}
	return name
}

// FuzzDeliver gives any bytes to every unwrapper: a packet that reaches the host must have the
// length in its header.
func FuzzDeliver(f *testing.F) {
	for _, b := range [][]byte{packet4(0), packet6(3), partial(packet4(2)), greHeader(0x0800, packet4(0), true),
		join(gueHeader(4, 1, 0x80000000, 20<<16|36), partial(packet4(0)))} {
		f.Add(b, byte(3))
	}
	f.Fuzz(func(t *testing.T, b []byte, tos byte) {
		for _, unwrap := range []func([]byte) ([]byte, error){plain, gre, gue} {
			host := &sink{}
			newTest(host).deliver(&source{unwrap: unwrap}, arrives(b, tos, netip.Addr{}))
			if host.got == nil {
				continue
			}
			if got, err := trim(host.got); err != nil || len(got) != len(host.got) {
				t.Errorf("delivered %x", host.got)
			}
		}
	})
}

package modes_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/gopacket/layers"
	"pgregory.net/rapid"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/modes"
)

var mss = layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 180}} // 1460

// TestRewrite checks the flow and the checksums of rewritten frames.
func TestRewrite(t *testing.T) {
	const nat, full, dr = "nat", "fullnat", "dr"
	for _, c := range []struct {
		name string
		mode string
		in   packet
		want string // flow that leaves
	}{
		{"NAT sends a segment to the server's address and port", nat, packet{data: []byte("x")}, "tcp 172.16.0.9:30001 > 10.1.0.1:8080"},
		{"NAT answers from the virtual address and port", nat, packet{reply: true, data: []byte("xyz")}, "tcp 10.2.0.1:80 > 172.16.0.9:30001"},
		{"NAT over IPv6", nat, packet{v6: true, data: []byte("x")}, "tcp [fd00:c::9]:30001 > [fd00:1::1]:8080"},
		{"NAT over IPv6 answers", nat, packet{v6: true, reply: true}, "tcp [fd00:2::1]:80 > [fd00:c::9]:30001"},
		{"NAT of a UDP datagram", nat, packet{proto: 17, data: []byte("hello")}, "udp 172.16.0.9:30001 > 10.1.0.1:8080"},
		{"NAT of an empty UDP datagram", nat, packet{proto: 17}, "udp 172.16.0.9:30001 > 10.1.0.1:8080"},
		{"NAT makes the checksum that a UDP sender left out", nat, packet{proto: 17, noSum: true, data: []byte("hello")}, "udp 172.16.0.9:30001 > 10.1.0.1:8080"},
		{"NAT of UDP over IPv6", nat, packet{v6: true, proto: 17, data: []byte("hello")}, "udp [fd00:c::9]:30001 > [fd00:1::1]:8080"},
		{"FULLNAT translates both ends", full, packet{flags: frame.FlagSYN, opts: []layers.TCPOption{mss}}, "tcp 10.1.255.1:5000 > 10.1.0.1:8080"},
		{"FULLNAT answers from the service to the client", full, packet{reply: true, full: true, data: []byte("x")}, "tcp 10.2.0.1:80 > 172.16.0.9:30001"},
		{"FULLNAT over IPv6", full, packet{v6: true, flags: frame.FlagSYN}, "tcp [fd00:1::1:1]:5000 > [fd00:1::1]:8080"},
		{"FULLNAT over IPv6 answers", full, packet{v6: true, reply: true, full: true}, "tcp [fd00:2::1]:80 > [fd00:c::9]:30001"},
		{"FULLNAT of a UDP datagram", full, packet{proto: 17, data: []byte("hello")}, "udp 10.1.255.1:5000 > 10.1.0.1:8080"},
		{"DR leaves addresses and ports alone", dr, packet{data: []byte("x")}, "tcp 172.16.0.9:30001 > 10.2.0.1:80"},
		{"DR over IPv6", dr, packet{v6: true}, "tcp [fd00:c::9]:30001 > [fd00:2::1]:80"},
	} {
		for _, part := range []bool{false, true} {
			name := c.name
			if part {
				name += ", with a partial checksum"
				if c.in.noSum {
					continue
				}
			}
			t.Run(name, func(t *testing.T) {
				f := parse(t, c.in.pack(t))
				if part {
					partial(f)
				}
				var m modes.Mode = map[string]modes.Mode{nat: modes.NAT{}, full: &modes.FullNAT{Kind: modes.TOAKind}, dr: modes.DR{}}[c.mode]
				conn := connection(c.in.v6, f.Info.Proto)
				rewrite := m.Request
				if c.in.reply {
					rewrite = m.Reply
				}
				if v := rewrite(f, conn); v != frame.Forward {
					t.Fatal(v)
				}
				if f.Offload.Partial() != part {
					t.Error("the checksum's being partial changed")
				}
				f.CompleteChecksum()
				judge(t, f.L3())
				if g := parse(t, f.L3()); g.Flow.String() != c.want {
					t.Errorf("flow %v, want %s", &g.Flow, c.want)
				} else if g.Info.TTL != 63 {
					t.Errorf("TTL %d", g.Info.TTL)
				}
			})
		}
	}
}

// TestRefuses checks that a refused frame is unchanged.
func TestRefuses(t *testing.T) {
	big := make([]byte, 1460)
	for _, c := range []struct {
		name  string
		mode  modes.Mode
		in    packet
		reply bool
		mtu   int
		want  frame.Verdict
		left  int // MTU the sender is told
		ttl   uint8
	}{
		{"TTL 1 ends a request by NAT", modes.NAT{}, packet{ttl: 1}, false, 1500, frame.DropTTL, 1500, 1},
		{"TTL 1 ends a reply by NAT", modes.NAT{}, packet{ttl: 1, reply: true}, true, 1500, frame.DropTTL, 1500, 1},
		{"TTL 0 ends a request by DR", modes.DR{}, packet{ttl: 1, v6: true}, false, 1500, frame.DropTTL, 1500, 1},
		{"TTL 1 ends a request by TUN", tunnel(config.IPIP, 0, false), packet{ttl: 1}, false, 1500, frame.DropTTL, 1500, 1},
		{"DF and too large ends a request, with the TTL lowered", modes.NAT{}, packet{df: true, data: big}, false, 1400, frame.DropTooBig, 1400, 63},
		{"DF and too large ends a reply, with the TTL as it came", modes.NAT{}, packet{df: true, data: big, reply: true}, true, 1400, frame.DropTooBig, 1400, 64},
		{"IPv6 and too large", modes.DR{}, packet{v6: true, data: big}, false, 1500, frame.DropTooBig, 1500, 63},
		{"TUN takes 20 bytes of the MTU", tunnel(config.IPIP, 0, false), packet{df: true, data: big}, false, 1500, frame.DropTooBig, 1480, 63},
		{"GUE takes 32", tunnel(config.GUE, 0, false), packet{df: true, data: big}, false, 1500, frame.DropTooBig, 1468, 63},
		{"GRE with checksum over IPv6 takes 48", tunnel(config.GRE, config.TunnelCsum, true), packet{v6: true, data: big}, false, 1500, frame.DropTooBig, 1452, 63},
		{"a path that leaves less than 68 bytes carries nothing", tunnel(config.IPIP, 0, false), packet{}, false, 87, frame.DropUnsupported, 87, 63},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := c.in.pack(t)
			f := parse(t, b)
			f.MTU = c.mtu
			rewrite := c.mode.Request
			if c.reply {
				rewrite = c.mode.Reply
			}
			if v := rewrite(f, connection(c.in.v6, frame.ProtoTCP)); v != c.want {
				t.Fatalf("%v, want %v", v, c.want)
			}
			if f.MTU != c.left {
				t.Errorf("MTU %d, want %d", f.MTU, c.left)
			}
			got := bytes.Clone(f.L3())
			at := 8
			if c.in.v6 {
				at = 7
			}
			if got[at] != c.ttl {
				t.Errorf("TTL %d, want %d", got[at], c.ttl)
			}
			got[at] = b[at]
			if !c.in.v6 {
				frame.SumHeader4(got)
			}
			if !bytes.Equal(got, b) {
				t.Errorf("more than the TTL changed:\n%x\n%x", got, b)
			}
		})
	}
}

// TestTooBigSuperFrame: several segments in one fit if each does.
func TestTooBigSuperFrame(t *testing.T) {
	f := super(parse(t, packet{df: true, data: make([]byte, 14600)}.pack(t)), 1460)
	f.MTU = 1500
	if v := (modes.NAT{}).Request(f, connection(false, frame.ProtoTCP)); v != frame.Forward {
		t.Error(v)
	}
	f = super(parse(t, packet{df: true, data: make([]byte, 14600)}.pack(t)), 1461)
	f.MTU = 1500
	if v := (modes.NAT{}).Request(f, connection(false, frame.ProtoTCP)); v != frame.DropTooBig {
		t.Error(v)
	}
}

// TestTunnel decapsulates the packets of each kind of tunnel and compares them with the
// originals.
func TestTunnel(t *testing.T) {
	for _, k := range []struct {
		name  string
		typ   config.TunnelType
		flags config.TunnelFlags
	}{
		{"ipip", config.IPIP, 0}, {"gre", config.GRE, 0}, {"gre with checksum", config.GRE, config.TunnelCsum},
		{"gue", config.GUE, 0}, {"gue with checksum", config.GUE, config.TunnelCsum}, {"gue with remote checksum", config.GUE, config.TunnelRemCsum},
	} {
		for _, v6 := range [][2]bool{{false, false}, {false, true}, {true, false}, {true, true}} {
			for _, part := range []bool{false, true} {
				f := parse(t, packet{v6: v6[0], tos: 0x2b, df: true, data: []byte("hello")}.pack(t))
				if part {
					partial(f)
				}
				m := tunnel(k.typ, k.flags, v6[1])
				if v := m.Request(f, nil); v != frame.Forward {
					t.Fatal(k.name, v)
				}
				if f.Offload.Partial() {
					t.Errorf("%s: left partial", k.name)
				}
				inner := unwrap(t, f.L3())
				want := packet{v6: v6[0], tos: 0x2b, df: true, ttl: 63, data: []byte("hello")}.pack(t)
				if !bytes.Equal(inner, want) {
					t.Errorf("%s, IPv6 inside %v outside %v, partial %v:\n%x\n%x", k.name, v6[0], v6[1], part, inner, want)
				}
				outer := parse(t, f.L3())
				if src := map[bool]string{false: director4.String(), true: director6.String()}[v6[1]]; outer.Flow.Src().String() != src || outer.Info.TTL != 63 {
					t.Errorf("%s: outer %v TTL %d", k.name, &outer.Flow, outer.Info.TTL)
				}
				if tos := outerTOS(f.L3()); tos != 0x2a {
					t.Errorf("%s: outer TOS %#x, want ECT(0) for the CE inside", k.name, tos)
				}
			}
		}
	}
}

func outerTOS(ip []byte) byte {
	if ip[0]>>4 == 6 {
		return ip[0]<<4 | ip[1]>>4
	}
	return ip[1]
}

// unwrap is the other end of a tunnel, written independently of package modes: it verifies the
// outer checksums and completes a remote one.
func unwrap(t testing.TB, b []byte) []byte {
	t.Helper()
	proto, shim, src, dst := b[9], b[20:], b[12:16], b[16:20]
	if b[0]>>4 == 6 {
		proto, shim, src, dst = b[6], b[40:], b[8:24], b[24:40]
		if int(binary.BigEndian.Uint16(b[4:])) != len(shim) {
			t.Error("outer payload length")
		}
	} else if frame.Checksum(b[:20]) != 0 || int(binary.BigEndian.Uint16(b[2:])) != len(b) {
		t.Error("outer header")
	}
	switch proto {
	case frame.ProtoGRE:
		if shim[0]&0x80 == 0 {
			return shim[4:]
		}
		if frame.Checksum(shim) != 0 {
			t.Error("GRE checksum")
		}
		return shim[8:]
	case frame.ProtoUDP:
		if binary.BigEndian.Uint16(shim[6:]) != 0 && frame.Fold(frame.Sum(shim, frame.PseudoSum(src, dst, frame.ProtoUDP, len(shim)))) != 0xffff {
			t.Error("UDP checksum")
		}
		options, inner := shim[12:12+shim[8]&0x1f*4], bytes.Clone(shim[12+int(shim[8]&0x1f)*4:])
		if shim[8]&0x1f == 2 && binary.BigEndian.Uint32(options) == 1<<31 {
			start, field := binary.BigEndian.Uint16(options[4:]), binary.BigEndian.Uint16(options[6:])
			binary.BigEndian.PutUint16(inner[field:], frame.Checksum(inner[start:]))
		}
		return inner
	}
	return shim
}

// TestThereAndBack is a property of NAT and FULLNAT: an echo of the request comes back to the
// client with source and destination exchanged, its data intact and its checksum right, for any
// data.
func TestThereAndBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		in := packet{v6: rapid.Bool().Draw(rt, "v6"), data: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "data"), proto: rapid.SampledFrom([]uint8{6, 17}).Draw(rt, "proto")}
		var m modes.Mode = modes.NAT{}
		if rapid.Bool().Draw(rt, "full") {
			m = &modes.FullNAT{}
		}
		f := parse(t, in.pack(t))
		want := f.Flow.Reverse()
		conn := connection(in.v6, in.proto)
		if rapid.Bool().Draw(rt, "partial") {
			partial(f)
		}
		if v := m.Request(f, conn); v != frame.Forward {
			rt.Fatal(v)
		}
		f.CompleteChecksum()
		judge(t, f.L3())
		back := parse(t, exchange(f.L3()))
		if v := m.Reply(back, conn); v != frame.Forward {
			rt.Fatal(v)
		}
		judge(t, back.L3())
		if got := parse(t, back.L3()); got.Flow != want || !bytes.HasSuffix(got.L4(), in.data) {
			rt.Fatalf("flow %v, want %v", &got.Flow, &want)
		}
	})
}

// exchange swaps source and destination, which no checksum notices.
func exchange(ip []byte) []byte {
	b := bytes.Clone(ip)
	at, n, l4 := 12, 4, 20
	if b[0]>>4 == 6 {
		at, n, l4 = 8, 16, 40
	}
	copy(b[at:], ip[at+n:at+2*n])
	copy(b[at+n:], ip[at:at+n])
	copy(b[l4:], ip[l4+2:l4+4])
	copy(b[l4+2:], ip[l4:l4+2])
	return b
}

func TestNoAllocs(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for name, m := range map[string]modes.Mode{
			"dr": modes.DR{}, "nat": modes.NAT{}, "fullnat": &modes.FullNAT{Kind: modes.TOAKind},
			"ipip": tunnel(config.IPIP, 0, v6), "gue": tunnel(config.GUE, config.TunnelCsum, v6), "gre": tunnel(config.GRE, config.TunnelCsum, v6),
		} {
			b := packet{v6: v6, data: make([]byte, 100)}.pack(t)
			syn := packet{v6: v6, reply: true, flags: frame.FlagSYN | frame.FlagACK, opts: []layers.TCPOption{mss}}.pack(t)
			rst := icmpAbout(t, v6, packet{v6: v6}.pack(t))
			var p frame.Parser
			var f, out frame.Frame
			c := connection(v6, frame.ProtoTCP)
			buf, answer := make([]byte, 2048), make([]byte, modes.AnswerLen)
			load := func(b []byte) {
				n := copy(buf[frame.Headroom:], frameOf(b).Bytes())
				f.Reset(buf, frame.Headroom, frame.Headroom+n, n)
				p.Parse(&f)
			}
			base := testing.AllocsPerRun(100, func() { load(b); load(syn); load(rst) })
			if n := testing.AllocsPerRun(100, func() {
				load(b)
				m.Request(&f, c)
				load(syn)
				m.Reply(&f, c)
				load(rst)
				modes.Embedded(&f)
				m.Reply(&f, c)
			}); n > base {
				t.Errorf("%s: %v allocations to rewrite", name, n-base)
			}
			if n := testing.AllocsPerRun(100, func() {
				load(b)
				load(syn)
				load(rst)
				modes.TimeExceeded(&out, answer, &f, director4, 1)
				modes.Reset(&out, answer, &f)
			}); n > base {
				t.Errorf("%s: %v allocations to answer", name, n-base)
			}
		}
	}
}

// icmpAbout is an ICMP error about the given packet, from its receiver's side.
func icmpAbout(t testing.TB, v6 bool, b []byte) []byte {
	f := parse(t, b)
	var out frame.Frame
	src := f.Flow.Dst()
	if !modes.Unreachable(&out, make([]byte, modes.AnswerLen), f, src, modes.PortUnreachable, 1) {
		t.Fatal("no error made")
	}
	return bytes.Clone(out.L3())
}

var _ = conntrack.AddressSent

package bench_test

import (
	"net/netip"
	"testing"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/modes"
)

// tcp4 and tcp6 are ACK segments with n bytes of data, checksums right.
func tcp4(n int) []byte { return segment(frame.EtherIPv4, n) }
func tcp6(n int) []byte { return segment(frame.EtherIPv6, n) }

// segment writes a frame by hand: Ethernet, IP, TCP.
func segment(etherType uint16, n int) []byte {
	var f frame.Frame
	buf := make([]byte, frame.Headroom+frame.EthernetLen+60+n)
	src, dst := netip.MustParseAddr("172.16.0.9"), netip.MustParseAddr("10.0.0.1")
	header := 20
	if etherType == frame.EtherIPv6 {
		src, dst, header = netip.MustParseAddr("fd00:c::9"), netip.MustParseAddr("fd00::1"), 40
	}
	ip, _ := f.Make(buf, header+20+n, etherType)
	if header == 20 {
		ip[0], ip[8], ip[9] = 0x45, 64, frame.ProtoTCP
		ip[2], ip[3] = byte(len(ip)>>8), byte(len(ip))
		copy(ip[12:], src.AsSlice())
		copy(ip[16:], dst.AsSlice())
		frame.SumHeader4(ip)
	} else {
		ip[0], ip[6], ip[7] = 0x60, frame.ProtoTCP, 64
		ip[4], ip[5] = byte((len(ip)-40)>>8), byte(len(ip)-40)
		copy(ip[8:], src.AsSlice())
		copy(ip[24:], dst.AsSlice())
	}
	tcp := ip[header:]
	tcp[0], tcp[1], tcp[3], tcp[12], tcp[13] = 0x75, 0x31, 80, 5<<4, frame.FlagACK
	sum := ^frame.Fold(frame.Sum(tcp, frame.PseudoSum(src.AsSlice(), dst.AsSlice(), frame.ProtoTCP, len(tcp))))
	tcp[16], tcp[17] = byte(sum>>8), byte(sum)
	return f.Bytes()
}

// BenchmarkRewrite measures one frame through each mode, parsing not counted in
// what the modes do but present in all: "parse" alone is the line to subtract.
func BenchmarkRewrite(b *testing.B) {
	server := netip.MustParseAddrPort("10.1.0.1:8080")
	o := modes.TunnelOptions{Dst: server.Addr(), Src: netip.MustParseAddr("10.1.255.254"), Port: 6080, PMTUDisc: true}
	gue, gre := o, o
	gue.Type, gue.Flags = config.GUE, config.TunnelCsum
	gre.Type = config.GRE
	for _, m := range []struct {
		name  string
		mode  modes.Mode
		reply bool
	}{
		{"parse", nil, false},
		{"dr", modes.DR{}, false},
		{"nat", modes.NAT{}, false},
		{"nat-reply", modes.NAT{}, true},
		{"fullnat", &modes.FullNAT{}, false},
		{"fullnat-toa", &modes.FullNAT{Kind: modes.TOAKind}, false},
		{"tun-ipip", modes.NewTunnel(o), false},
		{"tun-gre", modes.NewTunnel(gre), false},
		{"tun-gue-csum", modes.NewTunnel(gue), false},
	} {
		for _, in := range []struct {
			name string
			b    []byte
		}{{"60B", tcp4(6)}, {"1400B", tcp4(1346)}, {"ipv6-80B", tcp6(6)}} {
			b.Run(m.name+"/"+in.name, func(b *testing.B) { rewrite(b, m.mode, m.reply, in.b) })
		}
	}
}

// rewrite parses and rewrites the same frame again and again. Only its headers
// are laid down anew each time, so a large frame does not measure memmove.
func rewrite(b *testing.B, m modes.Mode, reply bool, in []byte) {
	buf := make([]byte, frame.Headroom+len(in))
	copy(buf[frame.Headroom:], in)
	headers := in[:min(len(in), 80)]
	var p frame.Parser
	var f frame.Frame
	f.Reset(buf, frame.Headroom, len(buf), len(in))
	p.Parse(&f)
	c := conntrack.Make(&f.Flow, 0, 0)
	c.Real, c.RealPort = netip.MustParseAddr("10.1.0.1").As16(), 8080
	c.Local, c.LocalPort = netip.MustParseAddr("10.1.255.1").As16(), 5000
	b.ReportAllocs()
	for b.Loop() {
		copy(buf[frame.Headroom:], headers)
		f.Reset(buf, frame.Headroom, len(buf), len(in))
		p.Parse(&f)
		f.MTU = 1500
		switch {
		case m == nil:
		case reply:
			m.Reply(&f, &c)
		default:
			m.Request(&f, &c)
		}
	}
}

// BenchmarkSegments measures the split of a 64 KiB super-frame, as a tunnel
// needs it, in bytes of data.
func BenchmarkSegments(b *testing.B) {
	in := tcp4(45 * 1448)
	var p frame.Parser
	var f, out frame.Frame
	buf := append(make([]byte, frame.Headroom), in...)
	f.Reset(buf, frame.Headroom, len(buf), len(in))
	p.Parse(&f)
	f.Offload = frame.Offload{Flags: frame.OffloadPartial, GSOType: frame.GSOTCP4, GSOSize: 1448, CsumStart: 34, CsumOffset: 16}
	part := make([]byte, 2048)
	b.SetBytes(45 * 1448)
	b.ReportAllocs()
	for b.Loop() {
		s, _ := f.Segments()
		for s.Next(&out, part) {
		}
	}
}

// BenchmarkReassemble measures a 60 KB datagram cut for an Ethernet MTU, joined
// and cut again, in bytes of data.
func BenchmarkReassemble(b *testing.B) {
	in := tcp4(60000)
	var p frame.Parser
	var f, out frame.Frame
	buf := append(make([]byte, frame.Headroom), in...)
	f.Reset(buf, frame.Headroom, len(buf), len(in))
	p.Parse(&f)
	var all []*frame.Frame
	for c, _ := f.Fragments(1500, 0); ; {
		var g frame.Frame
		if !c.Next(&g, make([]byte, c.BufferLen())) {
			break
		}
		p.Parse(&g)
		all = append(all, &g)
	}
	r, part := frame.NewReassembler(frame.FragmentMemory), make([]byte, 2048)
	b.SetBytes(60000)
	b.ReportAllocs()
	for b.Loop() {
		for _, g := range all {
			whole, v := r.Add(g, time.Second)
			if v != frame.Continue {
				continue
			}
			p.Parse(whole)
			for c, _ := whole.Fragments(1500, 0); c.Next(&out, part); {
			}
		}
	}
}

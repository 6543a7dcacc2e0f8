package modes_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
	"uvs/modes"
)

// The addresses of the tables: client, virtual, real and local, in both versions.
var (
	client4, client6   = addrPort("172.16.0.9:30001"), addrPort("[fd00:c::9]:30001")
	virtual4, virtual6 = addrPort("10.2.0.1:80"), addrPort("[fd00:2::1]:80")
	real4, real6       = addrPort("10.1.0.1:8080"), addrPort("[fd00:1::1]:8080")
	local4, local6     = addrPort("10.1.255.1:5000"), addrPort("[fd00:1::1:1]:5000")
	director4          = addr("10.1.255.254")
	director6          = addr("fd00:1::fffe")
)

// packet says what a test packet is; pack builds it.
type packet struct {
	v6       bool
	proto    uint8 // TCP unless set
	flags    uint8 // TCP; ACK unless set
	opts     []layers.TCPOption
	data     []byte
	ttl, tos uint8
	df       bool
	reply    bool // from server to client as the server sends it
	full     bool // with FULLNAT, the server knows the local address only
	noSum    bool
}

func (p packet) pack(testing.TB) []byte {
	src, dst := client4, virtual4
	if p.v6 {
		src, dst = client6, virtual6
	}
	if p.reply {
		dst, src = src, map[bool]netip.AddrPort{false: real4, true: real6}[p.v6]
		if p.full {
			dst = map[bool]netip.AddrPort{false: local4, true: local6}[p.v6]
		}
	}
	out := frametest.Packet{Src: src.String(), Dst: dst.String(), TTL: p.ttl, TOS: p.tos, ID: 7, DF: p.df, NoSum: p.noSum, Data: string(p.data)}
	switch p.proto {
	case 0, frame.ProtoTCP:
		tcp := frametest.TCP(p.flags, 1000, 5000)
		tcp.Window, tcp.Options = 8192, p.opts
		if p.flags == 0 {
			tcp.ACK = true
		}
		out.Transport = tcp
	case frame.ProtoUDP:
		out.Transport = &layers.UDP{}
	default:
		ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, src.Port()), dst.Port())
		out.Proto, out.Data = layers.IPProtocol(p.proto), string(append(ports, make([]byte, 8)...))+out.Data
	}
	return out.Bytes()
}

// parse puts an IP packet into a frame and parses it.
func parse(t testing.TB, b []byte) *frame.Frame {
	t.Helper()
	f := frameOf(b)
	var p frame.Parser
	if v := p.Parse(f); v != frame.Continue {
		t.Fatalf("Parse = %v", v)
	}
	return f
}

// partial makes the transport checksum of f partial, as a sender leaves it to hardware.
func partial(f *frame.Frame) *frame.Frame {
	at := uint16(16)
	if f.Info.Proto == frame.ProtoUDP {
		at = 6
	}
	src, dst := f.Flow.Src().AsSlice(), f.Flow.Dst().AsSlice()
	binary.BigEndian.PutUint16(f.L4()[at:], frame.Fold(frame.PseudoSum(src, dst, f.Info.Proto, len(f.L4()))))
	f.Offload.Flags = frame.OffloadPartial
	f.Offload.CsumStart = uint16(frame.EthernetLen + f.IPHeaderLen())
	f.Offload.CsumOffset = at
	return f
}

// super makes f several segments in one.
func super(f *frame.Frame, size int) *frame.Frame {
	partial(f)
	f.Offload.GSOSize = uint16(size)
	f.Offload.GSOType = frame.GSOTCP4
	if f.Is6() {
		f.Offload.GSOType = frame.GSOTCP6
	}
	f.Offload.HeaderLen = uint16(frame.EthernetLen + f.IPHeaderLen() + int(f.L4()[12]>>4)*4)
	return f
}

// connection returns the connection of all table packets.
func connection(v6 bool, proto uint8) *conntrack.Conn {
	src, dst, rs, local := client4, virtual4, real4, local4
	if v6 {
		src, dst, rs, local = client6, virtual6, real6, local6
	}
	f := frame.FlowOf(proto, src, dst)
	c := conntrack.Make(&f, 0, 0)
	c.Real, c.RealPort = rs.Addr().As16(), rs.Port()
	c.Local, c.LocalPort = local.Addr().As16(), local.Port()
	return &c
}

func tunnel(typ config.TunnelType, flags config.TunnelFlags, v6 bool) *modes.Tunnel {
	o := modes.TunnelOptions{Type: typ, Flags: flags, Port: 6080, Src: director4, Dst: real4.Addr(), PMTUDisc: true}
	if v6 {
		o.Src, o.Dst = director6, real6.Addr()
	}
	return modes.NewTunnel(o)
}

// judge fails the test if a length or checksum of an IP packet is wrong, also inside a
// tunnel. It returns the packet as gopacket reads it.
func judge(t testing.TB, b []byte) gopacket.Packet {
	t.Helper()
	first := layers.LayerTypeIPv4
	if b[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	if err := frametest.Check(b, first); err != nil {
		t.Error(err)
	}
	return gopacket.NewPacket(b, first, gopacket.Default)
}

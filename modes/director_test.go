package modes_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/modes"
)

// director is a minimal director: services with one server each, a map of connections, one
// MTU. Packages modes and frame do all its rewriting and build all its answers.
type director struct {
	t        testing.TB
	services map[string]service // "tcp 10.2.0.1:80", port 0 for any
	requests map[frame.Flow]*entry
	replies  map[frame.Flow]*entry
	reasm    *frame.Reassembler
	parser   frame.Parser
	mtus     [2]int             // of the links towards clients and servers
	learned  map[netip.Addr]int // path MTUs towards servers, from ICMP
	ids      uint16
	iface4   [2]netip.Addr // towards clients, towards servers
	iface6   [2]netip.Addr
	locals   map[netip.Addr]bool // virtual addresses
}

type service struct {
	mode modes.Mode // nil: no server
	real netip.AddrPort
	code uint8 // no server, and told with this
}

type entry struct {
	conn conntrack.Conn
	svc  service
}

// sent is a frame that was sent, and the side: 'C' or 'R'.
type sent struct {
	side byte
	b    []byte
}

func newDirector(t testing.TB) *director {
	return &director{
		t:        t,
		services: map[string]service{},
		requests: map[frame.Flow]*entry{},
		replies:  map[frame.Flow]*entry{},
		reasm:    frame.NewReassembler(frame.FragmentMemory),
		mtus:     [2]int{1500, 1500},
		learned:  map[netip.Addr]int{},
		iface4:   [2]netip.Addr{addr("10.9.0.1"), addr("10.1.255.254")},
		iface6:   [2]netip.Addr{addr("fd00:9::1"), addr("fd00:1::fffe")},
		locals:   map[netip.Addr]bool{},
	}
}

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// add adds a service "tcp 10.2.0.1:80" with a server.
func (d *director) add(name string, m modes.Mode, real string) {
	svc := service{mode: m}
	if real != "" {
		svc.real = addrPort(real)
	}
	d.services[name] = svc
}

func (d *director) addTunnel(name, real string, typ config.TunnelType, flags config.TunnelFlags, pmtu bool) {
	o := modes.TunnelOptions{Type: typ, Flags: flags, Port: 6080, Dst: addrPort(real).Addr(), Src: d.iface4[1], PMTUDisc: pmtu}
	if o.Dst.Is6() {
		o.Src = d.iface6[1]
	}
	d.add(name, modes.NewTunnel(o), real)
}

// frameOf returns a frame with an IP packet and headroom.
func frameOf(packet []byte) *frame.Frame {
	b := make([]byte, frame.Headroom+frame.EthernetLen, frame.Headroom+frame.EthernetLen+len(packet))
	copy(b[frame.Headroom:], []byte{2, 0, 0, 0xd0, 0, 1, 2, 0, 0, 2, 0, 1, 8, 0})
	if packet[0]>>4 == 6 {
		b[frame.Headroom+12], b[frame.Headroom+13] = 0x86, 0xdd
	}
	b = append(b, packet...)
	var f frame.Frame
	f.Reset(b, frame.Headroom, len(b), len(b)-frame.Headroom)
	return &f
}

// inject takes an IP packet from the client side ('>') or the server side
// ('<') and returns what leaves.
func (d *director) inject(side byte, packet []byte) []sent {
	f := frameOf(packet)
	if v := d.parser.Parse(f); v != frame.Continue {
		return nil
	}
	if f.Info.Fragment {
		whole, v := d.reasm.Add(f, time.Second)
		if v != frame.Continue {
			return nil
		}
		f = whole
		if v := d.parser.Parse(f); v != frame.Continue {
			d.t.Fatalf("reassembled datagram: %v", v)
		}
	}
	if side == '>' {
		return d.request(f)
	}
	return d.reply(f)
}

func (d *director) request(f *frame.Frame) []sent {
	key := f.Flow
	if quoted, ok := modes.Embedded(f); ok {
		key = quoted.Reverse()
	}
	e := d.requests[key]
	if e == nil {
		ok := f.Info.Proto != frame.ProtoTCP || f.Info.TCPFlags&frame.FlagSYN != 0
		if ok {
			e, ok = d.open(key)
		}
		if !ok {
			return d.host(f)
		}
	}
	if modes.Damaged(f) {
		return nil
	}
	if e.svc.mode == nil {
		return d.answer('C', f, func(out *frame.Frame, b []byte) bool {
			return modes.Unreachable(out, b, f, d.source(f, 0), e.svc.code, d.id())
		})
	}
	f.MTU = d.mtus[1]
	if m := d.learned[e.svc.real.Addr()]; m != 0 {
		f.MTU = min(f.MTU, m)
	}
	return d.emit('R', f, e.svc.mode.Request(f, &e.conn), d.source(f, 0))
}

// source returns the source of an error about f: the VIP for IPv4, the address of the
// interface that sends the error for IPv6.
func (d *director) source(f *frame.Frame, side int) netip.Addr {
	if f.Is6() {
		return d.iface6[side]
	}
	if dst := f.Flow.Dst(); d.locals[dst] {
		return dst
	}
	return d.iface4[side]
}

func (d *director) id() uint16 { d.ids++; return d.ids }

// open makes the connection of a request.
func (d *director) open(key frame.Flow) (*entry, bool) {
	p := frame.ProtoName(key.Proto()) + " "
	svc, ok := d.services[p+key.Destination().String()]
	if !ok {
		if svc, ok = d.services[p+netip.AddrPortFrom(key.Dst(), 0).String()]; !ok {
			return nil, false
		}
	}
	e := &entry{conn: conntrack.Make(&key, 0, 0), svc: svc}
	if svc.mode == nil {
		return e, true
	}
	c := &e.conn
	c.Real, c.RealPort = svc.real.Addr().As16(), svc.real.Port()
	if c.RealPort == 0 {
		c.RealPort = c.VirtualPort
	}
	d.requests[key] = e
	from := c.Client
	switch svc.mode.(type) {
	case modes.DR, *modes.Tunnel:
		return e, true
	}
	port := c.ClientPort
	if _, full := svc.mode.(*modes.FullNAT); full {
		c.Local, c.LocalPort = addr("10.1.255.1").As16(), 5000+uint16(len(d.requests))
		if key.Dst().Is6() {
			c.Local = addr("fd00:1::1:1").As16()
		}
		from, port = c.Local, c.LocalPort
	}
	d.replies[frame.MakeFlow(key.Proto(), &c.Real, &from, c.RealPort, port)] = e
	return e, true
}

func (d *director) reply(f *frame.Frame) []sent {
	key := f.Flow
	if quoted, ok := modes.Embedded(f); ok {
		key = quoted.Reverse()
	}
	f.MTU = d.mtus[0]
	e := d.replies[key]
	if e != nil && modes.Damaged(f) {
		return nil
	}
	if e != nil {
		return d.emit('C', f, e.svc.mode.Reply(f, &e.conn), d.source(f, 1))
	}
	if outer, inner, ok := modes.QuotedTunnel(f); ok {
		if e := d.requests[inner]; e != nil && !modes.Damaged(f) {
			t := e.svc.mode.(*modes.Tunnel)
			if m := f.L4(); f.Is4() && m[0] == 3 && m[1] == 4 {
				d.learned[outer.Dst()] = int(binary.BigEndian.Uint16(m[6:]))
			}
			return d.answer('C', f, func(out *frame.Frame, b []byte) bool {
				return modes.RelayTunnelError(out, b, f, d.mtus[1]-t.Overhead(), d.id())
			})
		}
	}
	if d.iface4[1] == f.Flow.Dst() || d.iface6[1] == f.Flow.Dst() {
		return nil
	}
	if !f.DecrementTTL() {
		return nil
	}
	return []sent{{'C', clone(f)}}
}

// emit sends a rewritten frame, or the answer that its verdict requires.
func (d *director) emit(side byte, f *frame.Frame, v frame.Verdict, src netip.Addr) []sent {
	back := byte('C' + 'R' - side)
	switch v {
	case frame.DropTTL:
		return d.answer(back, f, func(out *frame.Frame, b []byte) bool { return modes.TimeExceeded(out, b, f, src, d.id()) })
	case frame.DropTooBig:
		return d.answer(back, f, func(out *frame.Frame, b []byte) bool { return modes.TooBig(out, b, f, src, d.id()) })
	case frame.Forward:
		return d.cut(side, f)
	}
	return nil
}

// cut sends a frame, in fragments if necessary.
func (d *director) cut(side byte, f *frame.Frame) []sent {
	if f.Pieces == nil && f.L3Len() <= f.MTU {
		return []sent{{side, clone(f)}}
	}
	c, ok := f.Fragments(f.MTU, uint32(d.id()))
	if !ok {
		d.t.Fatal("cannot be cut")
	}
	var all []sent
	var out frame.Frame
	for buf := make([]byte, c.BufferLen()); c.Next(&out, buf); {
		all = append(all, sent{side, clone(&out)})
	}
	return all
}

func clone(f *frame.Frame) []byte { return append([]byte(nil), f.Bytes()...) }

func (d *director) answer(side byte, f *frame.Frame, build func(*frame.Frame, []byte) bool) []sent {
	var out frame.Frame
	if !build(&out, make([]byte, modes.AnswerLen)) {
		return nil
	}
	return []sent{{side, clone(&out)}}
}

// host does what the director's own stack does with a packet to a virtual address that matches
// no service.
func (d *director) host(f *frame.Frame) []sent {
	if !d.locals[f.Flow.Dst()] {
		if !f.DecrementTTL() {
			return nil
		}
		return []sent{{'R', clone(f)}}
	}
	return d.answer('C', f, func(out *frame.Frame, b []byte) bool {
		switch {
		case modes.IsEcho(f):
			return modes.EchoReply(out, b, f, d.id())
		case f.Info.Proto == frame.ProtoTCP:
			return modes.Reset(out, b, f)
		case f.Info.Proto == frame.ProtoUDP:
			return modes.Unreachable(out, b, f, d.source(f, 0), modes.PortUnreachable, d.id())
		}
		return modes.Unreachable(out, b, f, d.source(f, 0), modes.ProtocolUnreachable, d.id())
	})
}

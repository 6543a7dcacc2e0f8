package conntrack

import (
	"net/netip"
	"sync/atomic"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// Tick is a coarse time: tenths of a second since the table was made, counted
// from 1. A caller reads the clock once a batch and passes the Tick in; the
// package never reads a clock. Ticks last for 6.8 years.
type Tick uint32

// TicksPerSecond is how finely connections age. Timeouts end early by less than
// a tick, and late only by however long the sweep is delayed.
const TicksPerSecond = 10

// Seconds returns s seconds in ticks, or the largest Tick if that is too many.
func Seconds(s uint32) Tick {
	if s > maxTick/TicksPerSecond {
		return maxTick
	}
	return Tick(s) * TicksPerSecond
}

// Ref is the number of a connection in its table, 0 for none. It stays valid,
// and its slot is not reused, until the connection has left the table and every
// Reader has passed an Exit after that.
type Ref uint32

// Flags describe a connection. The low three bits are its forwarding method.
type Flags uint16

// Flags with the meaning IPVS gives them (linux/ip_vs.h, IP_VS_CONN_F_*).
const (
	methodMask Flags = 1<<3 - 1

	// Template marks a persistence template, not a connection of its own.
	Template Flags = 1 << (2 + iota)
	// OnePacket marks a connection that ends with its first packet and is
	// never in the table, or the template of a one-packet service.
	OnePacket
	// NoOutput marks a connection without a reply so far: DR, TUN and local
	// ones always, NAT ones until the server answers.
	NoOutput
	// Inactive marks a connection that its server counts as inactive.
	Inactive
	// Invalid marks a template whose server is gone: lookups no longer find it,
	// and listings show port 65535 on both sides.
	Invalid
	// NoClientPort marks an expected connection whose client port is not known
	// yet (passive FTP).
	NoClientPort
	// Synced marks a connection from a sync daemon, not from a packet.
	Synced
	// Helped marks a connection for which an application helper keeps state, in
	// Notes or elsewhere.
	Helped
	// AddressSent marks a connection whose server was told the client's address.
	AddressSent
	// FromHost marks a connection whose client is the director's own host and
	// whose replies the guard holds back.
	FromHost
	// Closing marks a connection that has only seconds to live, because its
	// server is gone. Advance clears it.
	Closing
	// Renumbered marks a connection whose client segments are changed for a
	// server that may remember another connection from the same local port, or that a
	// SYN proxy began: see Table.Renumber and Table.Distance.
	Renumbered

	dead Flags = 1 << 15 // removed from the index; its slot is not free yet
)

// Conn is one connection, or one persistence template. It holds no pointer and
// is 112 bytes, so that millions of them cost the collector nothing.
//
// The exported fields are set before Insert and never change after it. Those
// that change are atomics behind methods. A *Conn that a Reader found stays
// valid until that Reader's Exit, even if the connection ends meanwhile.
//
// The fields that a packet of an established connection needs are in the first
// 64 bytes; Real follows right after them.
type Conn struct {
	link [2]uint32 // next reference in the request's and the reply's chain

	ClientPort  uint16
	VirtualPort uint16
	status      uint32 // protocol, state, flags in one word: changed by compare and swap
	seen        uint32 // Tick of the last packet
	timeout     uint32 // ticks from seen until it expires
	Client      [16]byte
	Virtual     [16]byte // for a template of a firewall mark: MarkAddr
	packets     uint32   // packets from the client, and signed
	Server      sched.ID // 0: bound to no server

	Real      [16]byte
	RealPort  uint16
	LocalPort uint16
	rcvNext   uint32 // FULLNAT, TCP: sequence number that the server takes next
	Control   Ref    // template or control connection it depends on
	controls  uint32 // how many connections depend on it; closed: none may any more
	Local     [16]byte
}

// ConnSize is how much memory a Conn takes, in bytes.
const ConnSize = 112

const (
	stateShift = 8
	flagShift  = 16
)

// Make returns a connection for the request flow f: from the client to the
// virtual service. The caller then sets Real, RealPort, Server, Control
// and, for FULLNAT, Local and LocalPort.
func Make(f *frame.Flow, m sched.Method, flags Flags) Conn {
	flags = flags&^methodMask | Flags(m)&methodMask
	if !m.Translates() && m != sched.Bypass {
		flags |= NoOutput // IPVS takes it from the server, and Bypass has none
	}
	if flags&Template == 0 {
		flags |= Inactive
	}
	return Conn{
		Client:      f.Src16(),
		Virtual:     f.Dst16(),
		ClientPort:  f.SrcPort(),
		VirtualPort: f.DstPort(),
		status:      uint32(f.Proto()) | uint32(flags)<<flagShift,
	}
}

// Proto returns the IP protocol, 0 for a template of a firewall mark.
func (c *Conn) Proto() uint8 { return uint8(atomic.LoadUint32(&c.status)) }

// State returns the state, to be read together with Proto.
func (c *Conn) State() State { return State(atomic.LoadUint32(&c.status) >> stateShift) }

// Flags returns the flags, the method bits among them.
func (c *Conn) Flags() Flags { return Flags(atomic.LoadUint32(&c.status) >> flagShift) }

// Has reports whether all of f are set.
func (c *Conn) Has(f Flags) bool { return c.Flags()&f == f }

// Method returns the forwarding method.
func (c *Conn) Method() sched.Method { return sched.Method(c.Flags() & methodMask) }

// SetFlags sets f: Synced and AddressSent at any time, any flag before Insert.
// Safe for concurrent use.
func (c *Conn) SetFlags(f Flags) { atomic.OrUint32(&c.status, uint32(f)<<flagShift) }

// ClearFlags unsets what SetFlags sets at any time. Safe for concurrent use.
func (c *Conn) ClearFlags(f Flags) { atomic.AndUint32(&c.status, ^(uint32(f) << flagShift)) }

// Gone reports whether the connection has left the table: it expired or was
// removed while a Reader still had a pointer to it.
func (c *Conn) Gone() bool { return c.Has(dead) }

// Seen returns the tick of the last packet.
func (c *Conn) Seen() Tick { return Tick(atomic.LoadUint32(&c.seen)) }

// Timeout returns how long the connection lives without a packet.
func (c *Conn) Timeout() Tick { return Tick(atomic.LoadUint32(&c.timeout)) }

// SetTimeout sets the timeout of a connection that is not in the table yet:
// templates live as long as their service says.
func (c *Conn) SetTimeout(d Tick) { c.timeout = uint32(d) }

// Listen turns a connection that is not in the table yet into one that an
// application helper expects: it waits in state LISTEN, with that state's timeout
// (ip_vs_proto_tcp.c, ip_vs_tcp_conn_listen).
func (c *Conn) Listen(r *Rules) {
	c.status |= uint32(TCPListen) << stateShift
	c.timeout = uint32(r.TCP[TCPListen])
}

// signed is set in Conn.packets after the first sign.
const signed = 1 << 31

// Packets returns the number of packets from the client, modulo 2^31.
func (c *Conn) Packets() uint32 { return atomic.LoadUint32(&c.packets) &^ signed }

// FirstSign takes note of a sign that the server takes the connection or does not, and
// reports whether it is the first: a packet from the server is one, too, see Advance. So
// each connection counts as refused once at most, and never after an answer. Safe for
// concurrent use.
func (c *Conn) FirstSign() bool {
	return atomic.LoadUint32(&c.packets)&signed == 0 && atomic.OrUint32(&c.packets, signed)&signed == 0
}

// Controls returns how many connections depend on this template or control
// connection.
func (c *Conn) Controls() int {
	if n := atomic.LoadUint32(&c.controls); n != closed {
		return int(n)
	}
	return 0
}

// Translated reports whether replies come back through the director and are
// found by their own flow, as by NAT and FULLNAT.
func (c *Conn) Translated() bool { return translated(c.Flags()) }

func translated(f Flags) bool {
	return f&Template == 0 && sched.Method(f&methodMask).Translates()
}

// RequestFlow returns the flow of a packet from the client.
func (c *Conn) RequestFlow() frame.Flow {
	return frame.MakeFlow(c.Proto(), &c.Client, &c.Virtual, c.ClientPort, c.VirtualPort)
}

// ReplyFlow returns the flow of a packet from the real server as it arrives:
// to the local address by methods that need one, to the client by others.
func (c *Conn) ReplyFlow() frame.Flow {
	if c.Method().NeedsLocal() {
		return frame.MakeFlow(c.Proto(), &c.Real, &c.Local, c.RealPort, c.LocalPort)
	}
	return frame.MakeFlow(c.Proto(), &c.Real, &c.Client, c.RealPort, c.ClientPort)
}

// Reusable reports whether a packet that opens a connection (SYN, INIT) and
// matches this one should be scheduled anew, because this one is over. mode is
// conn_reuse_mode: 0 never, bit 1 also if only the client's FIN was seen.
// Connections that depend on a template or another connection stay as they are
// (ip_vs_core.c, is_new_conn_expected).
func (c *Conn) Reusable(mode int) bool {
	if mode == 0 || c.Control != 0 {
		return false
	}
	switch s := c.State(); c.Proto() {
	case frame.ProtoTCP:
		return s == TCPTimeWait || s == TCPClose || mode&2 != 0 && s == TCPFinWait && c.Has(NoOutput)
	case frame.ProtoSCTP:
		return s == SCTPClosed
	}
	return false
}

// ClientAddr returns the client's address and port.
func (c *Conn) ClientAddr() netip.AddrPort { return addrPort(&c.Client, c.ClientPort) }

// VirtualAddr returns the address and port of the service, as a listing shows
// them: port 65535 for an invalid template.
func (c *Conn) VirtualAddr() netip.AddrPort {
	if c.Has(Invalid) {
		return addrPort(&c.Virtual, invalidPort)
	}
	return addrPort(&c.Virtual, c.VirtualPort)
}

// RealAddr returns the real server's address and port, as a listing shows them.
func (c *Conn) RealAddr() netip.AddrPort {
	if c.Has(Invalid) {
		return addrPort(&c.Real, invalidPort)
	}
	return addrPort(&c.Real, c.RealPort)
}

// LocalAddr returns the director's address and port towards the server. It is
// meaningful for FULLNAT only.
func (c *Conn) LocalAddr() netip.AddrPort { return addrPort(&c.Local, c.LocalPort) }

const invalidPort = 65535

func addrPort(a *[16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(*a).Unmap(), port)
}

package modes

import (
	"encoding/binary"
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// TOAKind is the TCP option number that carries the client's address unless
// another is configured (Alibaba's toa module and DPVS).
const TOAKind = 254

// FullNAT translates both ends: the server sees one of the director's local
// addresses, so its answers come back without routing through the director.
//
// A TCP server learns the client's address from an option (TOA) in the ACK
// that ends the handshake and in all segments after it until the server has
// answered one: whichever arrives first tells it. The MSS announced to the
// client, and every path MTU it is told, are lowered by the length of the
// option; a segment that is too long for it all the same goes without.
type FullNAT struct {
	// Kind is the number of the TCP option, 0 for none.
	Kind uint8

	id atomic.Uint32 // identification of datagrams that leave in fragments
}

var _ Mode = (*FullNAT)(nil)

// Request makes the local address the source and the server the destination.
func (m *FullNAT) Request(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if v := request(f); v != frame.Forward {
		if v == frame.DropTooBig && m.tells(f.Info.Proto) {
			f.MTU = less(f.MTU, f.Is4())
		}
		return v
	}
	if isICMP(f) {
		return fullError(f, &c.Local, c.LocalPort, &c.Real, c.RealPort)
	}
	if v := setEnd(f, 0, &c.Local, c.LocalPort); v != frame.Forward {
		return v
	}
	f.SetDestination(&c.Real, c.RealPort)
	m.renumber(f)
	if m.tells(f.Info.Proto) {
		m.tell(f, c)
	}
	return frame.Forward
}

// Reply makes the service the source and the client the destination.
func (m *FullNAT) Reply(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if v := reply(f); v != frame.Forward {
		return v
	}
	if isICMP(f) {
		if m.tells(c.Proto()) {
			lowerPathMTU(f)
		}
		return fullError(f, &c.Virtual, c.VirtualPort, &c.Client, c.ClientPort)
	}
	if v := setEnd(f, 0, &c.Virtual, c.VirtualPort); v != frame.Forward {
		return v
	}
	f.SetDestination(&c.Client, c.ClientPort)
	if m.tells(f.Info.Proto) && !c.Has(conntrack.AddressSent) {
		m.watch(f, c)
	}
	return frame.Forward
}

// Whole is true: the option goes into every segment, which leaves room for it.
func (m *FullNAT) Whole() bool { return true }

// tells reports whether servers are told the client's address by a protocol.
func (m *FullNAT) tells(proto uint8) bool { return m.Kind != 0 && proto == frame.ProtoTCP }

const (
	optionLen4 = 8  // of the option with an IPv4 address and a port
	optionLen6 = 20 // and with an IPv6 address

	leastMTU4 = 68   // RFC 791 section 3.2
	leastMTU6 = 1280 // RFC 8200 section 5
)

// less returns the path MTU to tell a client of a way that carries mtu bytes:
// with room for the option, but no less than IP's least.
func less(mtu int, is4 bool) int {
	if is4 {
		return max(mtu-optionLen4, min(mtu, leastMTU4))
	}
	return max(mtu-optionLen6, min(mtu, leastMTU6))
}

// lowerPathMTU takes the option's length from the MTU that an ICMP error from
// behind tells the client.
func lowerPathMTU(f *frame.Frame) {
	mtu, ok := PathMTU(f)
	if !ok {
		return
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4), uint32(less(mtu, f.Is4())))
	if f.Is4() {
		f.SetL4(6, b[2:]) // RFC 1191 section 4
		return
	}
	f.SetL4(4, b) // RFC 4443 section 3.2
}

// renumber gives a datagram that leaves in fragments an identification of its
// own: those of different clients could meet under one local address.
func (m *FullNAT) renumber(f *frame.Frame) {
	if f.Pieces == nil && (f.MTU == 0 || f.L3Len() <= f.MTU || f.Offload.Super()) {
		return
	}
	id := m.id.Add(1)
	if f.Is4() {
		f.SetID(uint16(id))
	}
	if f.Pieces != nil {
		f.Pieces.ID = id
	}
}

// tell tells the server the client's address, unless it knows, if the segment
// belongs to an open connection and has room. A SYN may begin another connection
// in the same entry, of which the server knows nothing yet.
func (m *FullNAT) tell(f *frame.Frame, c *conntrack.Conn) {
	flags, sent := f.Info.TCPFlags, c.Has(conntrack.AddressSent)
	switch {
	case sent && flags&frame.FlagSYN != 0:
		c.ClearFlags(conntrack.AddressSent)
		return
	case sent || flags&(frame.FlagSYN|frame.FlagRST|frame.FlagACK) != frame.FlagACK:
		return
	}
	var b [20]byte
	opt := m.option(&b, c, f.Is4())
	if f.MTU != 0 && f.SegmentLen()+len(opt) > f.MTU {
		return
	}
	f.InsertTCPOption(opt)
}

// option writes the option: kind, length, port, address.
func (m *FullNAT) option(b *[20]byte, c *conntrack.Conn, is4 bool) []byte {
	n, addr := optionLen6, c.Client[:]
	if is4 {
		n, addr = optionLen4, c.Client[12:]
	}
	b[0], b[1] = m.Kind, uint8(n)
	binary.BigEndian.PutUint16(b[2:], c.ClientPort)
	copy(b[4:], addr)
	return b[:n]
}

// watch lowers the MSS of a SYN and takes note when the server has answered a
// segment that carried the option.
func (m *FullNAT) watch(f *frame.Frame, c *conntrack.Conn) {
	switch flags := f.Info.TCPFlags; {
	case flags&frame.FlagSYN != 0:
		if f.Is4() {
			lowerMSS(f, optionLen4)
		} else {
			lowerMSS(f, optionLen6)
		}
	case flags&(frame.FlagACK|frame.FlagRST) == frame.FlagACK:
		c.SetFlags(conntrack.AddressSent)
	}
}

// lowerMSS takes n bytes from the maximum segment size a SYN announces (RFC
// 9293 section 3.2).
func lowerMSS(f *frame.Frame, n uint16) {
	const mss = 2
	at, size, _ := f.TCPOption(mss)
	if size != 4 {
		return
	}
	if old := binary.BigEndian.Uint16(f.L4()[at+2:]); old > n {
		f.SetL4(at+2, binary.BigEndian.AppendUint16(make([]byte, 0, 2), old-n))
	}
}

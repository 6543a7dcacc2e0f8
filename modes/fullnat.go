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

// FullNAT translates both addresses: the server sees one of the director's local
// addresses as the client, so its replies come back to the director whatever its
// routes are.
//
// A TCP server learns the client's address from an option (TOA) in the ACK that
// completes the handshake and in all segments after it until the server has
// answered one: the first of them to arrive is enough. The MSS announced to the
// client, and every path MTU it is told, are lowered by the length of the option;
// a segment without room for the option goes without it.
type FullNAT struct {
	// Kind is the number of the TCP option, 0 for none.
	Kind uint8

	id atomic.Uint32 // last identification of a datagram that left in fragments
}

var _ Mode = (*FullNAT)(nil)

// Request makes the local address the source and the server the destination.
func (m *FullNAT) Request(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if v := request(f); v != frame.Forward {
		if v == frame.DropTooBig && m.sendsTOA(f.Info.Proto) {
			f.MTU = clientMTU(f.MTU, f.Is4())
		}
		return v
	}
	if isICMP(f) {
		return fullNATError(f, &c.Local, c.LocalPort, &c.Real, c.RealPort)
	}
	if v := setEnd(f, 0, &c.Local, c.LocalPort); v != frame.Forward {
		return v
	}
	f.SetDestination(&c.Real, c.RealPort)
	m.newID(f)
	if m.sendsTOA(f.Info.Proto) {
		m.addTOA(f, c)
	}
	return frame.Forward
}

// Reply makes the service the source and the client the destination.
func (m *FullNAT) Reply(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if v := reply(f); v != frame.Forward {
		return v
	}
	if isICMP(f) {
		if m.sendsTOA(c.Proto()) {
			lowerPathMTU(f)
		}
		return fullNATError(f, &c.Virtual, c.VirtualPort, &c.Client, c.ClientPort)
	}
	if v := setEnd(f, 0, &c.Virtual, c.VirtualPort); v != frame.Forward {
		return v
	}
	f.SetDestination(&c.Client, c.ClientPort)
	if m.sendsTOA(f.Info.Proto) && !c.Has(conntrack.AddressSent) {
		m.watchReply(f, c)
	}
	return frame.Forward
}

// Whole is true: the option goes into every segment, and each has room for it.
func (m *FullNAT) Whole() bool { return true }

// sendsTOA reports whether servers get the client's address in this protocol.
func (m *FullNAT) sendsTOA(proto uint8) bool { return m.Kind != 0 && proto == frame.ProtoTCP }

const (
	optionLen4 = 8  // of the option with an IPv4 address and a port
	optionLen6 = 20 // and with an IPv6 address

	leastMTU4 = 68   // RFC 791 section 3.2
	leastMTU6 = 1280 // RFC 8200 section 5
)

// TOALen returns the length of the option with the client's address, in bytes.
func TOALen(is4 bool) uint16 {
	if is4 {
		return optionLen4
	}
	return optionLen6
}

// clientMTU returns the path MTU to tell a client for a path of mtu bytes: less the
// option, but no less than IP's minimum.
func clientMTU(mtu int, is4 bool) int {
	if is4 {
		return max(mtu-optionLen4, min(mtu, leastMTU4))
	}
	return max(mtu-optionLen6, min(mtu, leastMTU6))
}

// lowerPathMTU lowers the MTU in an ICMP error from the servers' side by the
// option's length.
func lowerPathMTU(f *frame.Frame) {
	mtu, ok := PathMTU(f)
	if !ok {
		return
	}
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 4), uint32(clientMTU(mtu, f.Is4())))
	if f.Is4() {
		f.SetL4(6, b[2:]) // RFC 1191 section 4
		return
	}
	f.SetL4(4, b) // RFC 4443 section 3.2
}

// newID gives a datagram that leaves in fragments a new identification: those of
// different clients could collide under one local address.
func (m *FullNAT) newID(f *frame.Frame) {
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

// addTOA adds the option with the client's address, unless the server has it, if
// the segment belongs to an open connection and has room. A SYN may open another
// connection in the same entry, about which the server knows nothing yet.
func (m *FullNAT) addTOA(f *frame.Frame, c *conntrack.Conn) {
	flags, sent := f.Info.TCPFlags, c.Has(conntrack.AddressSent)
	switch {
	case sent && flags&frame.FlagSYN != 0:
		c.ClearFlags(conntrack.AddressSent)
		return
	case sent || flags&(frame.FlagSYN|frame.FlagRST|frame.FlagACK) != frame.FlagACK:
		return
	}
	var b [20]byte
	opt := m.toaOption(&b, c, f.Is4())
	if f.MTU != 0 && f.SegmentLen()+len(opt) > f.MTU {
		return
	}
	f.InsertTCPOption(opt)
}

// toaOption writes the option: kind, length, port, address.
func (m *FullNAT) toaOption(b *[20]byte, c *conntrack.Conn, is4 bool) []byte {
	n, addr := optionLen6, c.Client[:]
	if is4 {
		n, addr = optionLen4, c.Client[12:]
	}
	b[0], b[1] = m.Kind, uint8(n)
	binary.BigEndian.PutUint16(b[2:], c.ClientPort)
	copy(b[4:], addr)
	return b[:n]
}

// watchReply lowers the MSS of a SYN, and notes that the server has answered a
// segment that carried the option.
func (m *FullNAT) watchReply(f *frame.Frame, c *conntrack.Conn) {
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

// lowerMSS lowers the maximum segment size that a SYN announces by n bytes (RFC
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

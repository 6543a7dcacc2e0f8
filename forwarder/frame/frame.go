// Package frame handles Ethernet frames: their bytes, the offsets of their headers,
// the flow they belong to, checksums, fragments, and the offload facts that accompany
// the bytes. It knows no socket, no table and no service.
//
// A Frame is a view of bytes that belong to a Port: it is valid until the next Recv on
// that Port, and no one may keep a slice of it. There is headroom before the first
// byte, so an outer header is pushed by moving an offset.
//
// Parser.Parse checks every length once; all later code relies on the offsets it
// found. Checksums are changed in checksum.go only.
//
// Nothing here locks or allocates; a Frame belongs to one goroutine.
package frame

import "encoding/binary"

// EtherTypes (IEEE 802).
const (
	EtherIPv4 = 0x0800
	EtherARP  = 0x0806
	EtherVLAN = 0x8100
	EtherIPv6 = 0x86dd
)

// EthernetLen is the length of an untagged Ethernet header in bytes.
const EthernetLen = 14

// Headroom is how many bytes are free before the first byte of a frame, received or
// new: room for the largest outer header that the director pushes (IPv6 40, UDP 8, GUE
// 4+8) and the 10-byte virtio header.
const Headroom = 96

// MaxLen is the largest frame a Port must be able to carry: an Ethernet header and the
// longest IPv6 packet, whose length field does not count its header. The loopback
// interface has frames as long as that.
const MaxLen = EthernetLen + 40 + 65535

// Frame is one Ethernet frame and the facts about it. The zero Frame is empty; Reset
// gives it bytes. The exported fields are set by the Port (Ingress, Offload), by
// Parser.Parse (Flow, Info) or by the forwarder (the rest).
type Frame struct {
	Flow    Flow    // five-tuple, set by Parse for IPv4 and IPv6
	Info    Info    // what Parse found
	Offload Offload // what the sender left to the hardware
	Ingress int     // index of the interface it arrived on, 0 if made here
	Egress  int     // index of the interface it leaves by
	MTU     int     // largest IP packet that its route carries, in bytes; 0 if unknown
	Pieces  *Pieces // the fragments it arrived in, nil if it was whole
	Host    bool    // the host itself sent it or will get it: no router is in between
	Held    bool    // it must not leave before the guard knows of the connection it begins or tells of
	Refused bool    // Port.Send did not send it
	Counts  uint16  // received frames that end with this one: 1, fragments of a datagram, 0 if made here
	Account uint16  // number of the account that counts them, once it waits outside its worker

	buf        []byte
	start, end int // the frame's bytes are buf[start:end]
	l3, l4     int // offsets into buf, set by Parse
	full       int // length on the wire, larger than end-start if cut
}

// Info is what Parse found in the headers of a frame.
type Info struct {
	EtherType uint16
	Proto     uint8  // IP protocol, the last next-header for IPv6
	TTL       uint8  // TTL or hop limit
	TCPFlags  uint8  // low eight flag bits, valid if Proto is TCP and ports are present
	HasPorts  bool   // Flow carries ports: TCP, UDP or SCTP, not a later fragment
	Fragment  bool   // first or later fragment of a datagram
	FragOff   uint16 // fragment offset in bytes, valid if Fragment
	MoreFrags bool   // more fragments follow, valid if Fragment
	DF        bool   // IPv4 don't fragment
	VLAN      uint16 // tag control information (802.1Q) that the Port took out of the frame, 0 if untagged; Parse keeps it
}

// TCP flag bits (RFC 9293 section 3.1).
const (
	FlagFIN = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
)

// Reset makes buf[start:end] the frame's bytes. wire is the length the frame had on
// the wire; it is larger than end-start if the receiver truncated it. The bytes before
// start are headroom and may be overwritten.
func (f *Frame) Reset(buf []byte, start, end, wire int) {
	*f = Frame{buf: buf, start: start, end: end, full: wire}
}

// Bytes returns the frame from its Ethernet header on.
func (f *Frame) Bytes() []byte { return f.buf[f.start:f.end:f.end] }

// Buffer returns the whole buffer and where the frame begins and ends in it.
func (f *Frame) Buffer() (buf []byte, start, end int) { return f.buf, f.start, f.end }

// Copy returns a copy of the frame, bytes and facts, in memory of its own, with
// headroom.
func (f *Frame) Copy() Frame {
	var c Frame
	c.Reset(make([]byte, Headroom+f.Len()), Headroom, Headroom+f.Len(), f.Len())
	copy(c.Bytes(), f.Bytes())
	c.Flow, c.Info, c.Offload, c.Ingress = f.Flow, f.Info, f.Offload, f.Ingress
	c.Counts, c.Account = f.Counts, f.Account
	return c
}

// Len returns the frame's length in bytes, Ethernet header included.
func (f *Frame) Len() int { return f.end - f.start }

// Cut reports whether the receiver truncated the frame.
func (f *Frame) Cut() bool { return f.full > f.end-f.start }

// Ethernet returns the 14 bytes of the Ethernet header.
func (f *Frame) Ethernet() []byte { return f.buf[f.start : f.start+EthernetLen : f.start+EthernetLen] }

// L3 returns the IP packet. It is valid after Parse returned Continue for an IP frame.
func (f *Frame) L3() []byte { return f.buf[f.l3:f.end:f.end] }

// L4 returns the bytes after the IP header and extension headers.
func (f *Frame) L4() []byte { return f.buf[f.l4:f.end:f.end] }

// L3Len returns the length of the IP packet in bytes.
func (f *Frame) L3Len() int { return f.end - f.l3 }

// IPHeaderLen returns the length of the IP header with options or extension
// headers, in bytes.
func (f *Frame) IPHeaderLen() int { return f.l4 - f.l3 }

// Is4 reports whether the frame is an IPv4 packet.
func (f *Frame) Is4() bool { return f.Info.EtherType == EtherIPv4 }

// Is6 reports whether the frame is an IPv6 packet.
func (f *Frame) Is6() bool { return f.Info.EtherType == EtherIPv6 }

// SetMACs writes the Ethernet addresses, 6 bytes each.
func (f *Frame) SetMACs(dst, src []byte) {
	e := f.Ethernet()
	copy(e[0:6], dst)
	copy(e[6:12], src)
}

// AddEthernet replaces the first n bytes of a packet that came from an interface
// without Ethernet by an Ethernet header, its addresses zero. It reports false,
// and changes nothing, if the head-room is too small or the frame has less than n
// bytes.
func (f *Frame) AddEthernet(n int, etherType uint16) bool {
	if f.start+n < EthernetLen || n > f.end-f.start {
		return false
	}
	grown := EthernetLen - n
	f.start -= grown
	f.full += grown
	clear(f.buf[f.start : f.start+12])
	binary.BigEndian.PutUint16(f.buf[f.start+12:], etherType)
	if f.Offload.Partial() {
		f.Offload.CsumStart = uint16(int(f.Offload.CsumStart) + grown)
	}
	if f.Offload.HeaderLen > 0 {
		f.Offload.HeaderLen = uint16(int(f.Offload.HeaderLen) + grown)
	}
	return true
}

// Push makes n bytes of room between the Ethernet header and the IP packet and returns
// them; the Ethernet header moves in front of them. The new bytes are the outer
// header: L3 then begins with them, and the EtherType is etherType. It reports false,
// and changes nothing, if the headroom is too small.
func (f *Frame) Push(n int, etherType uint16) ([]byte, bool) {
	if f.start < n || f.l3-f.start != EthernetLen {
		return nil, false
	}
	copy(f.buf[f.start-n:], f.buf[f.start:f.start+EthernetLen])
	f.start -= n
	f.l3 -= n
	binary.BigEndian.PutUint16(f.buf[f.start+12:], etherType)
	f.Info.EtherType = etherType
	if f.Offload.Partial() {
		f.Offload.CsumStart += uint16(n)
	}
	f.full = f.end - f.start
	return f.buf[f.l3 : f.l3+n : f.l3+n], true
}

// InsertL4 makes n bytes of room at byte offset at of the L4 header, by moving all
// headers before it into the headroom, and returns the new bytes. The caller corrects
// the IP length and checksum. It reports false, and changes nothing, if the headroom is
// too small.
func (f *Frame) InsertL4(at, n int) ([]byte, bool) {
	if f.start < n {
		return nil, false
	}
	pos := f.l4 + at
	copy(f.buf[f.start-n:], f.buf[f.start:pos])
	f.start -= n
	f.l3 -= n
	f.l4 -= n
	f.full = f.end - f.start
	return f.buf[pos-n : pos : pos], true
}

// Truncate cuts everything after the first n bytes of the IP packet: padding, or the
// tail of a segment. It does nothing if the packet is not longer.
func (f *Frame) Truncate(n int) {
	if f.l3+n < f.end {
		f.end = f.l3 + n
		f.full = f.end - f.start
	}
}

// Make makes the frame a zeroed IP packet of n bytes in buf, with a zeroed Ethernet
// header and headroom before it, and returns the packet. It reports false if buf is
// too small.
func (f *Frame) Make(buf []byte, n int, etherType uint16) ([]byte, bool) {
	end := Headroom + EthernetLen + n
	if len(buf) < end {
		return nil, false
	}
	clear(buf[Headroom:end])
	f.Reset(buf, Headroom, end, EthernetLen+n)
	binary.BigEndian.PutUint16(buf[Headroom+12:], etherType)
	f.Info.EtherType = etherType
	f.l3 = Headroom + EthernetLen
	f.l4 = end
	return buf[f.l3:end:end], true
}

// SetHeaders sets the length of the IP header, and so the offset of the transport
// header, and the protocol of a frame from Make.
func (f *Frame) SetHeaders(ipHeader int, proto uint8) {
	f.l4 = f.l3 + ipHeader
	f.Info.Proto = proto
}

// Borrow makes the frame the IP packet at the end of another frame, with that one's
// Ethernet header and interfaces. It destroys the other frame, whose headers it
// overwrites.
func (f *Frame) Borrow(of *Frame, packet []byte, is4 bool) bool {
	if len(packet) < 20 {
		return false
	}
	at := of.end - len(packet)
	if at-of.start < 2*EthernetLen {
		return false
	}
	copy(of.buf[at-EthernetLen:at], of.Ethernet())
	*f = Frame{buf: of.buf, start: at - EthernetLen, end: of.end, full: len(packet) + EthernetLen,
		l3: at, l4: of.end, Ingress: of.Ingress}
	f.Info.EtherType = EtherIPv6
	if is4 {
		f.Info.EtherType = EtherIPv4
	}
	return true
}

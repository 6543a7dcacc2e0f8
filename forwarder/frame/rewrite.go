package frame

import "encoding/binary"

// SetSource makes addr and port the packet's source and corrects the checksums that
// cover them. addr is 16 bytes, IPv4 in its mapped form; port is in host order and
// ignored for a packet without ports. Flow does not change: it is the key of the
// connection.
func (f *Frame) SetSource(addr *[16]byte, port uint16) { f.setEnd(0, addr, port) }

// SetDestination is SetSource for the destination.
func (f *Frame) SetDestination(addr *[16]byte, port uint16) { f.setEnd(1, addr, port) }

// setEnd replaces the source (end 0) or the destination (end 1).
func (f *Frame) setEnd(end int, addr *[16]byte, port uint16) {
	var delta uint64
	if ip := f.buf[f.l3:f.end]; f.Is4() {
		old := ip[12+4*end : 16+4*end]
		delta = Delta(old, addr[12:])
		copy(old, addr[12:])
		Apply(ip[10:], delta)
	} else {
		old := ip[8+16*end : 24+16*end]
		delta = Delta(old, addr[:])
		copy(old, addr[:])
	}
	f.setPort(2*end, port, delta)
}

// setPort writes the port at byte offset at of the transport header and corrects the
// transport checksum for it and for a change of the addresses.
func (f *Frame) setPort(at int, port uint16, addresses uint64) {
	l4 := f.buf[f.l4:f.end]
	if !f.Info.HasPorts {
		if f.Info.Proto == ProtoICMPv6 && f.Info.FragOff == 0 {
			f.fixChecksum(l4[2:4], addresses, 0)
		}
		return
	}
	field := l4[at : at+2]
	old := binary.BigEndian.Uint16(field)
	binary.BigEndian.PutUint16(field, port)
	switch f.Info.Proto {
	case ProtoTCP:
		f.fixChecksum(l4[16:18], addresses, delta16(old, port))
	case ProtoUDP:
		f.fixUDP(l4, addresses, delta16(old, port))
	case ProtoSCTP:
		if old != port || f.Offload.Partial() {
			f.SumSCTP()
		}
	}
}

// fixChecksum corrects a checksum field for a change of the pseudo-header and one of
// the data. A partial checksum covers the pseudo-header only.
func (f *Frame) fixChecksum(field []byte, pseudo, data uint64) {
	if f.PartialL4() {
		ApplyPartial(field, pseudo)
		return
	}
	Apply(field, pseudo+data)
}

// fixUDP is fixChecksum for UDP, where zero means that there is no checksum (RFC 768).
// As IPVS does, it then computes one (ip_vs_proto_udp.c, udp_snat_handler).
func (f *Frame) fixUDP(l4 []byte, pseudo, data uint64) {
	field := l4[6:8]
	if f.PartialL4() {
		ApplyPartial(field, pseudo)
		return
	}
	if binary.BigEndian.Uint16(field) == 0 {
		f.SumUDP(l4)
		return
	}
	Apply(field, pseudo+data)
	if binary.BigEndian.Uint16(field) == 0 {
		binary.BigEndian.PutUint16(field, 0xffff)
	}
}

// SumUDP computes the checksum of the UDP datagram l4 of the frame. It is for outer
// headers; l4 runs from the UDP header to the packet's end.
func (f *Frame) SumUDP(l4 []byte) {
	n := int(binary.BigEndian.Uint16(l4[4:]))
	if n < 8 || n > len(l4) {
		n = len(l4)
	}
	src, dst := f.addresses()
	binary.BigEndian.PutUint16(l4[6:], 0)
	c := ^Fold(Sum(l4[:n], PseudoSum(src, dst, ProtoUDP, n)))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(l4[6:], c)
}

// addresses returns the address fields of the packet, 4 or 16 bytes each.
func (f *Frame) addresses() (src, dst []byte) {
	ip := f.buf[f.l3:f.end]
	if f.Is4() {
		return ip[12:16], ip[16:20]
	}
	return ip[8:24], ip[24:40]
}

// SetL4 replaces the bytes at offset at of the transport header or its data, at any
// alignment, and corrects the transport checksum. The checksum field itself must not be
// among them, and at+len(b) must not be past the packet's end.
func (f *Frame) SetL4(at int, b []byte) {
	l4 := f.buf[f.l4:f.end]
	first, last := at&^1, min((at+len(b)+1)&^1, len(l4))
	before := Sum(l4[first:last], 0)
	copy(l4[at:], b)
	data := uint64(^Fold(before)) + Sum(l4[first:last], 0)
	switch f.Info.Proto {
	case ProtoTCP:
		f.fixChecksum(l4[16:18], 0, data)
	case ProtoUDP:
		if binary.BigEndian.Uint16(l4[6:]) != 0 || f.PartialL4() {
			f.fixUDP(l4, 0, data)
		}
	case ProtoICMP, ProtoICMPv6:
		f.fixChecksum(l4[2:4], 0, data)
	case ProtoSCTP:
		f.SumSCTP()
	}
}

// InsertTCPOption inserts opt, whose length is a multiple of 4, before all other options
// of a TCP segment, in every segment if the frame is several in one. It corrects the
// header and packet lengths and the checksums. It reports false, and changes nothing, if
// the TCP header, the packet or the headroom is full.
func (f *Frame) InsertTCPOption(opt []byte) bool {
	n := len(opt)
	header := int(f.buf[f.l4+12]>>4) * 4
	if header+n > 60 || f.L3Len()+n > 65535 {
		return false
	}
	old := binary.BigEndian.Uint16(f.buf[f.l4+12:])
	room, ok := f.InsertL4(20, n)
	if !ok {
		return false
	}
	copy(room, opt)
	l4 := f.buf[f.l4:f.end]
	l4[12] += uint8(n / 4 << 4)
	f.addLength(n)
	data := delta16(old, binary.BigEndian.Uint16(l4[12:])) + Sum(opt, 0)
	f.fixChecksum(l4[16:18], uint64(n), data)
	if f.Offload.HeaderLen != 0 {
		f.Offload.HeaderLen += uint16(n)
	}
	return true
}

// addLength adds n bytes to the length field of the IP header.
func (f *Frame) addLength(n int) {
	ip := f.buf[f.l3:f.end]
	if !f.Is4() {
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(n))
		return
	}
	old := binary.BigEndian.Uint16(ip[2:])
	binary.BigEndian.PutUint16(ip[2:], old+uint16(n))
	Apply(ip[10:], delta16(old, old+uint16(n)))
}

// SetID replaces the identification of an IPv4 packet.
func (f *Frame) SetID(id uint16) {
	ip := f.buf[f.l3:f.end]
	Apply(ip[10:], delta16(binary.BigEndian.Uint16(ip[4:]), id))
	binary.BigEndian.PutUint16(ip[4:], id)
}

// DecrementTTL decrements the TTL or hop limit, as a router does (RFC 1812 section
// 5.3.1). It reports false, and changes nothing, if none is left: the sender is then
// told by a time-exceeded message that quotes the packet as it arrived.
func (f *Frame) DecrementTTL() bool {
	ip := f.buf[f.l3:f.end]
	if !f.Is4() {
		if ip[7] <= 1 {
			return false
		}
		ip[7]--
		f.Info.TTL = ip[7]
		return true
	}
	if ip[8] <= 1 {
		return false
	}
	ip[8]--
	Apply(ip[10:], 0xffff-0x100) // the word of TTL and protocol is 0x100 less
	f.Info.TTL = ip[8]
	return true
}

package frame

import "encoding/binary"

// Pieces describes the fragments in which a reassembled datagram arrived. It is valid
// until the Reassembler's next Add.
type Pieces struct {
	Max  int      // IP length in bytes of the largest fragment
	ID   uint32   // identification, of IPv6 too
	cuts []uint16 // data bytes of each fragment, in order
}

// Wrap says that n bytes of headers were added before the datagram's data: they go
// into the first fragment, if it has room and stays a multiple of 8.
func (p *Pieces) Wrap(n int) {
	if p != nil && len(p.cuts) > 0 {
		p.cuts[0] += uint16(n)
	}
}

// Fragmenter cuts an IP packet into fragments (RFC 791 section 3.2, RFC 8200
// section 4.5). As Linux does, a datagram that arrived in fragments leaves in
// the same ones where they fit, and in none larger than the largest otherwise.
// A Fragmenter borrows the frame it was made from and belongs to one goroutine.
type Fragmenter struct {
	f      *Frame
	header int    // bytes repeated in each fragment, from the IP header on
	data   []byte // what is not in a fragment yet
	max    int    // data bytes in a fragment, a multiple of 8
	cuts   []uint16
	keepDF uint16 // mask: DF, or 0
	offset int    // of data[0] in the datagram
	more   bool   // the packet is itself a fragment, and not the last
	next   int    // IPv6: offset of the next-header field of the last repeated header
	id     uint32 // IPv6 identification
}

// Fragments starts to fragment f for a link with an MTU of mtu bytes; id is the
// identification for an IPv6 packet that has none. It reports false if the MTU leaves
// no room for data or the packet cannot be fragmented. The caller must know that the
// sender allows it. As in Linux (ip_do_fragment) DF is set only on fragments of a
// packet that arrived in fragments with DF and must be fragmented differently.
//
// The checksum must be complete, and the frame must not be several segments in one.
func (f *Frame) Fragments(mtu int, id uint32) (Fragmenter, bool) {
	c := Fragmenter{f: f, id: id}
	extra := 0
	if f.Is4() {
		c.start4()
	} else if extra = 8; !c.start6() {
		return c, false
	}
	if p := f.Pieces; p != nil {
		mtu = min(mtu, c.minMTU(p.Max))
		c.id = p.ID
		c.cuts = p.cuts
	}
	c.max = (mtu - c.header - extra) &^ 7
	if f.end-f.l3 <= mtu && len(c.cuts) == 0 {
		c.max = mtu // a single fragment
	}
	if c.max < 8 || f.Offload.Partial() || f.Offload.Super() {
		return c, false
	}
	c.checkCuts(mtu - c.header - extra)
	if f.Pieces != nil && len(c.cuts) == 0 {
		c.keepDF = 0x4000
	}
	return c, true
}

// minMTU returns mtu, but no less than the minimum of IPv6 (RFC 8200 section 5): no
// smaller fragments are made of IPv6 packets.
func (c *Fragmenter) minMTU(mtu int) int {
	if c.f.Is4() {
		return mtu
	}
	return max(mtu, 1280)
}

func (c *Fragmenter) start4() {
	ip := c.f.buf[c.f.l3:c.f.end]
	c.header = int(ip[0]&15) * 4
	c.data = ip[c.header:]
	word := binary.BigEndian.Uint16(ip[6:])
	c.offset, c.more = int(word&0x1fff)*8, word&0x2000 != 0
}

// start6 finds the end of the headers that each fragment repeats. As in Linux
// (ip6_find_1stfragopt) these are all extension headers except destination options
// after a routing header, which is more than RFC 8200 section 4.5 requires. A packet
// with a fragment header is not fragmented again, nor is one with more headers than a
// Reassembler accepts.
func (c *Fragmenter) start6() bool {
	ip := c.f.buf[c.f.l3:c.f.end]
	c.header, c.next = 40, 6
	at, name, routed := 40, 6, false
	for range MaxExtensions {
		proto := ip[name]
		n, ok := ExtensionLen(proto, ip[at:])
		if n == 0 && ok || proto == ProtoFragment || proto == ProtoAH {
			c.data = ip[c.header:]
			return proto != ProtoFragment && c.header <= maxHeaders
		}
		if !ok {
			return false
		}
		name, at = at, at+n
		routed = routed || proto == ProtoRouting
		if proto != ProtoDestOpts || !routed {
			c.header, c.next = at, name
		}
	}
	return false
}

// PerFragmentLen returns the length of an IPv6 packet's per-fragment headers (RFC 8200
// section 4.5), which each fragment repeats, from the IP header on, in bytes.
func (f *Frame) PerFragmentLen() int {
	c := Fragmenter{f: f}
	c.start6()
	return c.header
}

// checkCuts drops the recorded lengths unless they add up to the packet and all fit.
func (c *Fragmenter) checkCuts(room int) {
	sum := 0
	for i, n := range c.cuts {
		sum += int(n)
		if int(n) > room || i < len(c.cuts)-1 && n%8 != 0 {
			c.cuts = nil
			return
		}
	}
	if sum != len(c.data) {
		c.cuts = nil
	}
}

// BufferLen returns how long a buffer for one fragment must be, in bytes.
func (c *Fragmenter) BufferLen() int {
	n := c.max
	for _, cut := range c.cuts {
		n = max(n, int(cut))
	}
	return Headroom + EthernetLen + c.header + 8 + min(n, len(c.data))
}

// Next writes the next fragment into buf, which has at least BufferLen bytes and
// becomes out's. The last one counts for the packet. It reports false if there are no more.
func (c *Fragmenter) Next(out *Frame, buf []byte) bool {
	if c.f == nil {
		return false
	}
	n := c.nextLen()
	part := c.data[:n]
	c.data = c.data[n:]
	last := len(c.data) == 0
	if c.f.Is4() {
		c.next4(out, buf, part, last)
	} else {
		c.next6(out, buf, part, last)
	}
	out.Info.Fragment, out.Info.FragOff, out.Info.MoreFrags = true, uint16(c.offset), !last || c.more
	out.Info.HasPorts = false
	c.offset += n
	if last {
		out.Counts = c.f.Counts
		c.f = nil
	}
	return true
}

// nextLen returns the length of the next fragment's data.
func (c *Fragmenter) nextLen() int {
	if len(c.cuts) > 0 {
		n := int(c.cuts[0])
		c.cuts = c.cuts[1:]
		return n
	}
	return min(c.max, len(c.data))
}

func (c *Fragmenter) next4(out *Frame, buf, part []byte, last bool) {
	ip := out.derive(c.f, buf, c.header+len(part))
	copy(ip, c.f.buf[c.f.l3:c.f.l3+c.header])
	copy(ip[c.header:], part)
	out.l4 = out.l3 + c.header
	word := binary.BigEndian.Uint16(ip[6:])&c.keepDF | uint16(c.offset/8)
	if !last || c.more {
		word |= 0x2000
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[6:], word)
	SumHeader4(ip)
	if c.offset == 0 {
		blankOptions(c.f.buf[c.f.l3+20 : c.f.l3+c.header])
	}
}

// blankOptions replaces the IPv4 options that belong in the first fragment only (RFC
// 791 section 3.1, the copied flag) by no-operations, so the header keeps its length.
func blankOptions(o []byte) {
	for len(o) > 0 && o[0] != 0 {
		n := 1
		if o[0] != 1 {
			if len(o) < 2 || o[1] < 2 || int(o[1]) > len(o) {
				return
			}
			n = int(o[1])
			if o[0]&0x80 == 0 {
				for i := range o[:n] {
					o[i] = 1
				}
			}
		}
		o = o[n:]
	}
}

func (c *Fragmenter) next6(out *Frame, buf, part []byte, last bool) {
	if last && c.offset == 0 {
		c.unfragmented6(out, buf)
		return
	}
	ip := out.derive(c.f, buf, c.header+8+len(part))
	copy(ip, c.f.buf[c.f.l3:c.f.l3+c.header])
	copy(ip[c.header+8:], part)
	out.l4 = out.l3 + c.header
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
	h := ip[c.header : c.header+8]
	h[0], h[1] = ip[c.next], 0
	ip[c.next] = ProtoFragment
	word := uint16(c.offset)
	if !last {
		word |= 1
	}
	binary.BigEndian.PutUint16(h[2:], word)
	binary.BigEndian.PutUint32(h[4:], c.id)
}

// unfragmented6 writes a packet that fits: it gets no fragment header.
func (c *Fragmenter) unfragmented6(out *Frame, buf []byte) {
	packet := c.f.buf[c.f.l3:c.f.end]
	copy(out.derive(c.f, buf, len(packet)), packet)
	out.l4 = out.l3 + c.f.l4 - c.f.l3
}

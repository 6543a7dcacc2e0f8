package journey

import (
	"encoding/binary"
	"hash/maphash"

	"uvs/forwarder/frame"
	"uvs/forwarder/tracefilter"
	"uvs/internal/decap"
	"uvs/lab/capture"
)

// identity is what of a packet no node changes on its way: neither routing nor NAT nor a
// tunnel around it. Two packets of one identity are told apart by where they are.
type identity struct {
	etherType uint16
	proto     uint8
	kind      uint16 // flags of TCP, type and code of ICMP
	seq, ack  uint32 // of TCP
	id        uint16 // of IPv4, where there are no sequence numbers
	fragment  uint16
	length    int // of the payload, in bytes
	sum       uint64
}

// mac is an Ethernet address.
type mac [6]byte

func (m mac) group() bool { return m[0]&1 != 0 }

// packet is a frame as its tracker sees it. What concerns IP is that of the innermost packet.
type packet struct {
	identity
	src, dst   mac
	words      string     // what it is
	tunnel     string     // the outer packet's words, "" if there is none
	flow       frame.Flow // zero if it is not IP
	ports      bool
	ttl        uint8
	ident      uint16 // of IPv4, 0 if it has none
	matches    bool   // the filter
	neighbours bool   // it only looks for neighbours or groups
}

// end returns the sequence number after the payload.
func (p *packet) end() uint32 { return p.seq + uint32(p.length) }

// segment reports whether it carries data of TCP, which may be cut and joined on the way.
func (p *packet) segment() bool { return p.proto == frame.ProtoTCP && p.length > 0 && p.fragment == 0 }

// Reader tells what frames are. It belongs to one goroutine.
type Reader struct {
	parser frame.Parser
	filter *tracefilter.Filter
	seed   maphash.Seed
}

// NewReader returns a reader with a filter.
func NewReader(filter *tracefilter.Filter) *Reader {
	return &Reader{filter: filter, seed: maphash.MakeSeed()}
}

// Words tells what a frame is, and whether it matches the filter: the packet in it, or that
// in its tunnel.
func (r *Reader) Words(f *capture.Frame) (words string, matches bool) {
	p := r.read(f)
	if p.tunnel != "" {
		return p.words + " in " + p.tunnel, p.matches
	}
	return p.words, p.matches
}

func (r *Reader) read(f *capture.Frame) *packet {
	p := new(packet)
	if len(f.Bytes) < frame.EthernetLen {
		p.words, p.matches = "too short for a frame", r.filter == nil
		return p
	}
	p.dst, p.src = mac(f.Bytes[:6]), mac(f.Bytes[6:12])
	var outer frame.Frame
	outer.Reset(f.Bytes, 0, len(f.Bytes), f.Length)
	verdict := r.parser.Parse(&outer)
	p.matches = r.matches(&outer, f.Link)
	if inner, ok := r.inner(&outer, verdict); ok {
		p.tunnel = outer.Words()
		p.matches = p.matches || r.matches(&inner, f.Link)
		outer = inner
	}
	r.describe(p, &outer, verdict == frame.Continue)
	return p
}

func (r *Reader) matches(f *frame.Frame, l *capture.Link) bool {
	return r.filter.Match(&tracefilter.Packet{Frame: f, Link: l.String()}) == tracefilter.Yes
}

// portGUE is the UDP port of GUE (IANA).
const portGUE = 6080

// inner returns the packet inside a tunnel's, behind a copy of the Ethernet header.
func (r *Reader) inner(outer *frame.Frame, verdict frame.Verdict) (frame.Frame, bool) {
	var f frame.Frame
	if verdict != frame.Continue || !outer.Is4() && !outer.Is6() || outer.Info.Fragment {
		return f, false
	}
	l4, proto := outer.L4(), outer.Info.Proto
	if proto == frame.ProtoUDP {
		if outer.Flow.DstPort() != portGUE {
			return f, false
		}
		l4 = l4[8:]
	}
	in, err := decap.Inner(proto, append([]byte(nil), l4...)) // which may complete a checksum in place
	if err != nil || in == nil {
		return f, false
	}
	b := append(append([]byte(nil), outer.Ethernet()...), in...)
	binary.BigEndian.PutUint16(b[12:], frame.EtherIPv4)
	if in[0]>>4 == 6 {
		binary.BigEndian.PutUint16(b[12:], frame.EtherIPv6)
	}
	f.Reset(b, 0, len(b), len(b))
	return f, r.parser.Parse(&f) == frame.Continue
}

// describe notes what a parsed packet is, sound or not.
func (r *Reader) describe(p *packet, f *frame.Frame, sound bool) {
	p.etherType = f.Info.EtherType
	if !sound || !f.Is4() && !f.Is6() {
		p.words = f.Words()
		if sound {
			p.words, p.neighbours = words(f), neighbours(f)
		}
		p.length, p.sum = f.Len(), maphash.Bytes(r.seed, f.Bytes())
		return
	}
	p.words, p.neighbours = words(f), neighbours(f)
	p.flow, p.ports, p.ttl, p.proto, p.fragment = f.Flow, f.Info.HasPorts, f.Info.TTL, f.Info.Proto, f.Info.FragOff
	if f.Is4() {
		p.ident = binary.BigEndian.Uint16(f.L3()[4:])
	}
	l4 := f.L4()
	switch {
	case f.Info.Fragment:
		p.id = p.ident
	case f.Info.Proto == frame.ProtoTCP && f.Info.HasPorts:
		p.kind = uint16(f.Info.TCPFlags)
		p.seq, p.ack = f.TCPSeq()
		l4 = l4[int(l4[12]>>4)*4:]
	case f.Info.Proto == frame.ProtoUDP && f.Info.HasPorts:
		p.id, l4 = p.ident, l4[8:]
	case isError(f.Info.Proto, l4):
		p.kind, l4 = binary.BigEndian.Uint16(l4), about(l4[8:])
	case (f.Info.Proto == frame.ProtoICMP || f.Info.Proto == frame.ProtoICMPv6) && len(l4) >= 4:
		p.kind, p.id, l4 = binary.BigEndian.Uint16(l4), p.ident, l4[4:]
	default:
		p.id = p.ident
	}
	p.length, p.sum = len(l4), maphash.Bytes(r.seed, l4)
}

// isError reports whether an ICMP message is about another packet (RFC 792, RFC 4443
// section 2.1).
func isError(proto uint8, l4 []byte) bool {
	if len(l4) < 8 {
		return false
	}
	switch proto {
	case frame.ProtoICMP:
		return l4[0] == 3 || l4[0] == 5 || l4[0] == 11 || l4[0] == 12
	case frame.ProtoICMPv6:
		return l4[0] < 128
	}
	return false
}

// about returns what NAT leaves alone of the packet that an ICMP error is about: the
// sequence number of TCP, nothing of others.
func about(ip []byte) []byte {
	header, proto := 40, byte(0)
	switch {
	case len(ip) >= 40 && ip[0]>>4 == 6:
		proto = ip[6]
	case len(ip) >= 20 && ip[0]>>4 == 4:
		header, proto = int(ip[0]&15)*4, ip[9]
	default:
		return nil
	}
	if proto != frame.ProtoTCP || len(ip) < header+8 {
		return nil
	}
	return ip[header+4 : header+8]
}

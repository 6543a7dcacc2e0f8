// Package tracefilter is the language in which `uvs trace` is told which packets to
// record: tcpdump's words (pcap-filter(7)) for what is in a packet, and words of its own
// for what the director knows about it: its verdict, service, real server, client and side.
//
// A filter is asked twice. Before a packet is handled it sees the frame and the connection
// that was looked up; No then means that no record is made, which costs some nanoseconds.
// Where the answer depends on what is decided later it is Unknown, and the filter is asked
// again when the record is complete.
package tracefilter

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"strings"

	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// Result is an answer of three values.
type Result int8

// Results.
const (
	No Result = iota
	Unknown
	Yes
)

// Packet is what a filter is asked about.
type Packet struct {
	Frame *frame.Frame    // parsed
	Conn  *conntrack.Conn // as it was looked up; nil: none, or not yet
	Reply bool            // the packet is from the server of Conn
	Link  string          // interface on which it arrived

	Decided *Decided // nil: not yet
}

// Decided is what is known about a packet once its record is complete. A packet without a
// connection has no Client.
type Decided struct {
	Verdict               string
	Service               string // its name in the API, "" for none
	Client, Server, Local netip.AddrPort
	Reply                 bool
	Opened                bool // it began its connection
	// Frame facts as they were before the packet was rewritten.
	Flow      frame.Flow
	Info      frame.Info
	Length    int
	EtherType uint16
}

// Filter decides about packets. It never changes, and is safe for concurrent use. A nil
// Filter matches everything.
type Filter struct {
	text  string
	root  node
	needs *network
}

// String returns the text that the filter was parsed from.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	return f.text
}

// AsksDirector returns the first word of a condition that only a director can answer, "" if
// the filter is about packets alone.
func (f *Filter) AsksDirector() string {
	if f == nil {
		return ""
	}
	return asks(f.root)
}

func asks(n node) string {
	switch n := n.(type) {
	case *and:
		return cmp.Or(asks(n.left), asks(n.right))
	case *or:
		return cmp.Or(asks(n.left), asks(n.right))
	case not:
		return asks(n.of)
	case verdict:
		return "verdict"
	case inService:
		return "service"
	case opening:
		return "new"
	case side:
		return map[bool]string{false: "request", true: "reply"}[n.reply]
	case end:
		return map[bool]string{false: "client", true: "server"}[n.server]
	}
	return ""
}

// Match asks the filter.
func (f *Filter) Match(p *Packet) Result {
	switch {
	case f == nil:
		return Yes
	case f.needs != nil && p.Decided == nil && !f.needs.may(p.Frame):
		return No
	}
	return f.root.match(p)
}

// needed returns the address that every packet which matches must have, nil if there is
// none: most packets end there, without a call of an interface.
func needed(n node) *network {
	switch n := n.(type) {
	case *network:
		return n
	case *and:
		if left := needed(n.left); left != nil {
			return left
		}
		return needed(n.right)
	}
	return nil
}

// may reports whether a frame has the address. The Flow of one that is not IP is empty.
func (n *network) may(f *frame.Frame) bool {
	return n.has(f.Flow[:16]) || n.has(f.Flow[16:32])
}

// node is a part of a filter.
type node interface{ match(p *Packet) Result }

type and struct{ left, right node }

func (n *and) match(p *Packet) Result {
	if l := n.left.match(p); l == No {
		return No
	} else if r := n.right.match(p); r < l {
		return r
	} else {
		return l
	}
}

type or struct{ left, right node }

func (n *or) match(p *Packet) Result {
	l := n.left.match(p)
	if l == Yes {
		return Yes
	}
	return max(l, n.right.match(p))
}

type not struct{ of node }

func (n not) match(p *Packet) Result { return Yes - n.of.match(p) }

// is turns what is known into a Result.
func is(known bool) Result {
	if known {
		return Yes
	}
	return No
}

// flow returns the five-tuple with which the packet arrived.
func (p *Packet) flow() *frame.Flow {
	if p.Decided != nil {
		return &p.Decided.Flow
	}
	return &p.Frame.Flow
}

func (p *Packet) info() *frame.Info {
	if p.Decided != nil {
		return &p.Decided.Info
	}
	return &p.Frame.Info
}

func (p *Packet) isIP() bool {
	t := p.info().EtherType
	return t == frame.EtherIPv4 || t == frame.EtherIPv6
}

// direction restricts an address or a port to an end.
type direction uint8

const (
	either direction = iota
	source
	destination
)

// network matches addresses: two words, the least bytes first, of the form that a Flow has.
type network struct {
	dir        direction
	addr, mask [2]uint64 // addr is masked
}

func newNetwork(dir direction, p netip.Prefix) *network {
	n := &network{dir: dir}
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	var mask [16]byte
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	addr := p.Masked().Addr().As16()
	n.mask, n.addr = wordsOf(mask[:]), wordsOf(addr[:])
	return n
}

func wordsOf(a []byte) [2]uint64 {
	return [2]uint64{binary.LittleEndian.Uint64(a), binary.LittleEndian.Uint64(a[8:])}
}

func (n *network) match(p *Packet) Result {
	if !p.isIP() {
		return No
	}
	f := p.flow() // it begins with the source, then comes the destination
	return is(n.dir != destination && n.has(f[:16]) || n.dir != source && n.has(f[16:32]))
}

func (n *network) has(a []byte) bool {
	return binary.LittleEndian.Uint64(a[8:])&n.mask[1] == n.addr[1] && binary.LittleEndian.Uint64(a)&n.mask[0] == n.addr[0]
}

// ports matches a range of ports.
type ports struct {
	dir      direction
	from, to uint16
}

func (n *ports) match(p *Packet) Result {
	if !p.info().HasPorts {
		return No
	}
	f := p.flow()
	return is(n.dir != destination && n.has(f.SrcPort()) || n.dir != source && n.has(f.DstPort()))
}

func (n *ports) has(port uint16) bool { return n.from <= port && port <= n.to }

// protocol matches the IP protocol.
type protocol uint8

func (n protocol) match(p *Packet) Result { return is(p.isIP() && p.info().Proto == uint8(n)) }

// etherType matches the type of the frame.
type etherType uint16

func (n etherType) match(p *Packet) Result { return is(p.info().EtherType == uint16(n)) }

// flags compares flags of TCP under a mask.
type flags struct {
	mask, value uint8
	differ      bool
}

func (n flags) match(p *Packet) Result {
	i := p.info()
	if i.Proto != frame.ProtoTCP || !i.HasPorts {
		return No
	}
	return is((i.TCPFlags&n.mask == n.value) != n.differ)
}

// length matches frames of at least, or at most, so many bytes.
type length struct {
	bytes   int
	atLeast bool
}

func (n length) match(p *Packet) Result {
	have := 0
	if p.Decided != nil {
		have = p.Decided.Length
	} else {
		have = p.Frame.Len()
	}
	return is(n.atLeast && have >= n.bytes || !n.atLeast && have <= n.bytes)
}

// onLink matches the interface on which a packet arrived.
type onLink string

func (n onLink) match(p *Packet) Result { return is(p.Link == string(n)) }

// verdict matches a verdict, or with an empty name any drop.
type verdict string

func (n verdict) match(p *Packet) Result {
	switch {
	case p.Decided == nil:
		return Unknown
	case n == "":
		return is(strings.HasPrefix(p.Decided.Verdict, "drop-"))
	}
	return is(p.Decided.Verdict == string(n))
}

// inService matches the service by its name.
type inService string

func (n inService) match(p *Packet) Result {
	if p.Decided == nil {
		return Unknown
	}
	return is(p.Decided.Service == string(n))
}

// side matches packets of one end of a connection.
type side struct{ reply bool }

func (n side) match(p *Packet) Result {
	switch {
	case p.Decided != nil:
		return is(p.Decided.Client.IsValid() && p.Decided.Reply == n.reply)
	case p.Conn == nil || changes(p):
		return Unknown
	}
	return is(p.Reply == n.reply)
}

// opening matches packets that begin a connection.
type opening struct{}

func (opening) match(p *Packet) Result {
	switch {
	case p.Decided != nil:
		return is(p.Decided.Opened)
	case p.Conn == nil || changes(p):
		return Unknown
	}
	return No
}

// changes reports whether the packet may end its connection and begin another.
func changes(p *Packet) bool {
	i := &p.Frame.Info
	return p.Conn.Gone() || i.Proto == frame.ProtoSCTP || i.Proto == frame.ProtoUDP && !p.Reply || i.TCPFlags&frame.FlagSYN != 0
}

// end matches one end of a packet's connection.
type end struct {
	server bool
	addr   netip.Addr
	port   uint16 // 0: any
}

func (n end) match(p *Packet) Result {
	switch {
	case p.Decided != nil && n.server:
		return is(n.is(p.Decided.Server))
	case p.Decided != nil:
		return is(n.is(p.Decided.Client))
	case p.Conn == nil && !n.server && p.info().HasPorts && n.is(p.flow().Source()):
		return Yes
	case p.Conn == nil:
		return Unknown
	case !n.server:
		return is(n.is(p.Conn.ClientAddr()))
	case changes(p):
		return Unknown
	}
	return is(n.is(p.Conn.RealAddr()))
}

func (n *end) is(a netip.AddrPort) bool {
	return a.Addr() == n.addr && (n.port == 0 || a.Port() == n.port)
}

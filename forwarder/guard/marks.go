package guard

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Names of the chains that hold a rule for each Match: for packets, and for the
// ICMP errors about their replies.
const (
	chainMarks       = "marks"
	chainMarks6      = "marks6"
	chainMarkErrors  = "mark_errors"
	chainMarkErrors6 = "mark_errors6"
)

// changeMarks makes the chains anew if the matches changed.
func (g *Guard) changeMarks(want []Match) {
	if slices.Equal(want, g.marks) {
		return
	}
	for _, l := range []*layout{&layout4, &layout6} {
		packets := &nftables.Chain{Table: g.table, Name: l.marks}
		errors := &nftables.Chain{Table: g.table, Name: l.errorsOf}
		g.conn.FlushChain(packets)
		g.conn.FlushChain(errors)
		for _, m := range want {
			if m.Six == (l.six == 1) {
				g.addRules(packets, l.packetsOf(&m))
				g.addRules(errors, [][]expr.Any{l.mistakeAbout(&m)})
			}
		}
	}
}

// back ends the chain of marks for a packet: the other rules decide.
var back = []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}

func (m *Match) end() []expr.Any {
	if m.Drop {
		return drop
	}
	return back
}

// packetsOf returns the rules for the packets a match is about: its own, and
// before it one that notes datagrams, whose later fragments have no ports.
func (l *layout) packetsOf(m *Match) [][]expr.Any {
	addresses := join(l.inside(expr.PayloadBaseNetworkHeader, l.src, m.Src),
		l.inside(expr.PayloadBaseNetworkHeader, l.dst, m.Dst),
		[]expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0}, equal(reg0, m.Proto)})
	ports := join(between(expr.PayloadBaseTransportHeader, 0, m.SrcPorts),
		between(expr.PayloadBaseTransportHeader, 2, m.DstPorts))
	own := join(addresses, ports, m.end())
	if m.Drop && len(ports) > 0 {
		return [][]expr.Any{join(l.anyFragment(), addresses, ports, l.note()), own}
	}
	return [][]expr.Any{own}
}

// mistakeAbout returns the rule for ICMP errors about a reply to a packet that
// the match is about. The copy of the reply begins 8 bytes into the message.
func (l *layout) mistakeAbout(m *Match) []expr.Any {
	const inner = 8
	return join(
		l.inside(expr.PayloadBaseTransportHeader, inner+l.src, m.Dst),
		l.inside(expr.PayloadBaseTransportHeader, inner+l.dst, m.Src),
		[]expr.Any{load(expr.PayloadBaseTransportHeader, inner+l.proto, 1, reg0), equal(reg0, m.Proto)},
		between(expr.PayloadBaseTransportHeader, inner+l.header, m.DstPorts),
		between(expr.PayloadBaseTransportHeader, inner+l.header+2, m.SrcPorts), m.end())
}

// inside matches an address within a prefix.
func (l *layout) inside(base expr.PayloadBase, at uint32, p netip.Prefix) []expr.Any {
	if !p.IsValid() || p.Bits() == 0 {
		return nil
	}
	n := p.Addr().BitLen() / 8
	mask := make([]byte, n)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		load(base, at, l.addr, reg0),
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: l.addr, Mask: mask, Xor: make([]byte, n)},
		equal(reg0, p.Masked().Addr().AsSlice()...),
	}
}

// between matches a port in a range.
func between(base expr.PayloadBase, at uint32, ports [2]uint16) []expr.Any {
	if ports == [2]uint16{} {
		return nil
	}
	port := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	if ports[0] == ports[1] {
		return []expr.Any{load(base, at, 2, reg0), equal(reg0, port(ports[0])...)}
	}
	return []expr.Any{load(base, at, 2, reg0),
		&expr.Range{Op: expr.CmpOpEq, Register: reg0, FromData: port(ports[0]), ToData: port(ports[1])}}
}

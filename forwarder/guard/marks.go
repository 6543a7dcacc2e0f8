package guard

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Names of the chains that jump to those with a rule for each Match: for packets, and
// for the ICMP errors about their replies.
const (
	chainMarks       = "marks"
	chainMarks6      = "marks6"
	chainMarkErrors  = "mark_errors"
	chainMarkErrors6 = "mark_errors6"
)

// A block has at most perBlock matches, so that few rules are rewritten when one
// changes, and more only where there would be more than maxBlocks: the rules that jump
// to the blocks change in one transaction.
const (
	perBlock  = 32
	maxBlocks = 512
)

// marks are the matches of one IP version. The chains that are jumped to continue from
// block to block.
type marks struct {
	blocks []block
	made   int // blocks made so far, to name the next
}

// block is some of the matches, in a pair of chains of their own.
type block struct {
	number  int
	matches []Match
}

// changeMarks rewrites the blocks whose matches changed.
func (g *Guard) changeMarks(want []Match) error {
	for _, l := range []*layout{&layout4, &layout6} {
		var own []Match
		for _, m := range want {
			if m.Six == (l.six == 1) {
				own = append(own, m)
			}
		}
		if err := g.changeBlocks(l, own); err != nil {
			return err
		}
	}
	return nil
}

func (g *Guard) changeBlocks(l *layout, want []Match) error {
	m := &g.marks[l.six]
	size := max(perBlock, len(want)/maxBlocks)
	head, tail, middle := m.kept(want, size)
	if head == len(m.blocks) && len(middle) == 0 {
		return nil
	}
	old := m.blocks[head : len(m.blocks)-tail]
	if len(old) == 1 && (len(middle) > 0 || head == 0) && len(middle) <= min(size, 2*perBlock) {
		old[0].matches = middle
		return g.rewrite(l, old[0])
	}
	blocks := slices.Clone(m.blocks[:head])
	for part := range slices.Chunk(middle, size) {
		m.made++
		b := block{m.made, part}
		if err := g.addBlock(l, b); err != nil {
			return err
		}
		blocks = append(blocks, b)
	}
	added := len(blocks)
	blocks = append(blocks, m.blocks[len(m.blocks)-tail:]...)
	m.blocks = blocks
	if head+len(old) == 0 {
		return g.jumpFirst(l, blocks[:added])
	}
	return g.jumpInOrder(l, blocks, old)
}

// kept returns how many of the first and the last blocks can stay, and which matches
// are wanted between them. A block that has room takes part in a change next to it.
func (m *marks) kept(want []Match, size int) (head, tail int, middle []Match) {
	for _, b := range m.blocks {
		if n := len(b.matches); n > len(want) || !slices.Equal(b.matches, want[:n]) {
			break
		}
		want = want[len(b.matches):]
		head++
	}
	for tail < len(m.blocks)-head {
		b := m.blocks[len(m.blocks)-1-tail]
		rest := len(want) - len(b.matches)
		if rest < 0 || !slices.Equal(b.matches, want[rest:]) {
			break
		}
		want = want[:rest]
		tail++
	}
	if len(want) == 0 {
		return head, tail, nil
	}
	middle = want
	if tail > 0 {
		if b := m.blocks[len(m.blocks)-tail]; len(b.matches)+len(middle) <= size {
			middle = slices.Concat(middle, b.matches)
			tail--
		}
	}
	if head > 0 {
		if b := m.blocks[head-1]; len(b.matches)+len(middle) <= size {
			middle = slices.Concat(b.matches, middle)
			head--
		}
	}
	return head, tail, middle
}

func (l *layout) blockChains(b block) (packets, errors string) {
	return fmt.Sprintf("%s_%d", l.marks, b.number), fmt.Sprintf("%s_%d", l.errorsOf, b.number)
}

// addBlock adds the chains of a block, to which nothing jumps yet.
func (g *Guard) addBlock(l *layout, b block) error {
	packets, errors := l.blockChains(b)
	of := [2]*nftables.Chain{}
	for i, name := range []string{packets, errors} {
		of[i] = g.conn.AddChain(&nftables.Chain{Table: g.table, Name: name})
	}
	return g.fill(l, of, b.matches)
}

// fill adds the rules of matches to a pair of chains.
func (g *Guard) fill(l *layout, of [2]*nftables.Chain, matches []Match) error {
	for _, m := range matches {
		rules := l.packetsOf(&m)
		if err := g.makeRoom(perRule * (len(rules) + 1)); err != nil {
			return err
		}
		g.addRules(of[0], rules)
		g.addRules(of[1], [][]expr.Any{l.errorAbout(&m)})
	}
	return nil
}

// rewrite replaces the rules of a block in use, in one transaction.
func (g *Guard) rewrite(l *layout, b block) error {
	if err := g.flush(); err != nil {
		return err
	}
	packets, errors := l.blockChains(b)
	of := [2]*nftables.Chain{{Table: g.table, Name: packets}, {Table: g.table, Name: errors}}
	for _, chain := range of {
		g.conn.FlushChain(chain)
	}
	return g.fill(l, of, b.matches)
}

// jumpFirst makes packets and errors go through new blocks before all others, as after
// most changes: the last rule takes precedence.
func (g *Guard) jumpFirst(l *layout, blocks []block) error {
	if err := g.makeRoom(min(2*perRule*len(blocks), perBatch)); err != nil {
		return err
	}
	for _, b := range slices.Backward(blocks) {
		packets, errors := l.blockChains(b)
		g.Work += 2
		for top, name := range map[string]string{l.marks: packets, l.errorsOf: errors} {
			g.conn.InsertRule(&nftables.Rule{Table: g.table, Chain: &nftables.Chain{Table: g.table, Name: top}, Exprs: jump(name)})
		}
	}
	return nil
}

// jumpInOrder makes packets and errors go through the blocks in order, and removes those no
// longer needed, in one transaction.
func (g *Guard) jumpInOrder(l *layout, blocks, old []block) error {
	if err := g.makeRoom(perBatch); err != nil {
		return err
	}
	tops := [2]*nftables.Chain{{Table: g.table, Name: l.marks}, {Table: g.table, Name: l.errorsOf}}
	for i, top := range tops {
		g.conn.FlushChain(top)
		for _, b := range blocks {
			packets, errors := l.blockChains(b)
			g.addRules(top, [][]expr.Any{jump([]string{packets, errors}[i])})
		}
	}
	for _, b := range old {
		packets, errors := l.blockChains(b)
		for _, name := range []string{packets, errors} {
			chain := &nftables.Chain{Table: g.table, Name: name}
			g.conn.FlushChain(chain)
			g.conn.DelChain(chain)
		}
	}
	return g.flush()
}

// end is the verdict of a match: a packet that is not dropped passes, because the
// chains of marks come last.
func (m *Match) end() []expr.Any {
	if m.Drop {
		return drop
	}
	return accept
}

// packetsOf returns the rules for the packets a match is about: its own, and
// before it one that notes datagrams, whose later fragments have no ports.
func (l *layout) packetsOf(m *Match) [][]expr.Any {
	addresses, ports := l.addressesOf(m), portsOf(m)
	own := join(addresses, ports, m.end())
	if m.Drop && len(ports) > 0 {
		return [][]expr.Any{join(l.anyFragment(), addresses, ports, l.noteFragment()), own}
	}
	return [][]expr.Any{own}
}

func (l *layout) addressesOf(m *Match) []expr.Any {
	return join(l.inside(expr.PayloadBaseNetworkHeader, l.src, m.Src),
		l.inside(expr.PayloadBaseNetworkHeader, l.dst, m.Dst),
		[]expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0}, equal(reg0, m.Proto)})
}

func portsOf(m *Match) []expr.Any {
	return join(between(expr.PayloadBaseTransportHeader, 0, m.SrcPorts),
		between(expr.PayloadBaseTransportHeader, 2, m.DstPorts))
}

// about matches the packets that a match is about.
func (l *layout) about(m *Match) []expr.Any { return join(l.addressesOf(m), portsOf(m)) }

// errorAbout returns the rule for ICMP errors about a reply to a packet that the match
// is about. The copy of the reply begins 8 bytes into the message.
func (l *layout) errorAbout(m *Match) []expr.Any {
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

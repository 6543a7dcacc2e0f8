package guard

import (
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Later fragments carry no ports. If the first fragment of a datagram is dropped
// because of its ports, the datagram's identity is added to a set, by which its later
// fragments are recognised: those of the host's own services on the same address pass.
// A later fragment that overtakes the first reaches the host, which keeps it until its
// reassembly timeout and sends no error (RFC 792).

// Limits of the set: Linux gives a datagram 30 s for IPv4 and 60 s for IPv6 to arrive.
// Later fragments of datagrams beyond the limit pass.
const (
	firstFragmentsTimeout = 60 * time.Second
	maxFirstFragments     = 65536
)

// Names by IP version.
var (
	firstFragmentsNames = [2]string{"first_fragments", "first_fragments6"}
	chainFragments      = [2]string{"fragments", "fragments6"}
)

// makeFirstFragments describes the sets of datagrams whose first fragment was dropped, keyed by
// addresses, identification and protocol.
func makeFirstFragments(table *nftables.Table) (sets [2]*nftables.Set) {
	for six := range sets {
		addr, id := nftables.TypeIPAddr, nftables.TypeInetService // of 2 bytes
		if six == 1 {
			addr, id = nftables.TypeIP6Addr, nftables.TypeMark // of 4
		}
		sets[six] = &nftables.Set{
			Table: table, ID: firstFragmentsID(six), Name: firstFragmentsNames[six],
			Concatenation: true, KeyType: nftables.MustConcatSetType(addr, addr, id, nftables.TypeInetProto),
			Dynamic: true, HasTimeout: true, Timeout: firstFragmentsTimeout, Size: maxFirstFragments,
		}
	}
	return sets
}

func firstFragmentsID(six int) uint32 { return uint32(numSets + 1 + six) }

// fragment loads the position of a fragment in its datagram: its offset and, if wanted,
// whether more follow.
func (l *layout) fragment(more bool) []expr.Any {
	field, mask := load(expr.PayloadBaseNetworkHeader, 6, 2, reg0), []byte{0x1f, 0xff}
	if l.six == 1 {
		field = &expr.Exthdr{Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6, DestRegister: reg0}
		mask = []byte{0xff, 0xf8}
	}
	if more {
		mask[l.six] |= []byte{0x20, 0x01}[l.six]
	}
	return []expr.Any{
		field,
		&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 2, Mask: mask, Xor: []byte{0, 0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: []byte{0, 0}},
	}
}

// laterFragment matches all fragments but the first.
func (l *layout) laterFragment() []expr.Any { return l.fragment(false) }

// anyFragment matches all fragments.
func (l *layout) anyFragment() []expr.Any { return l.fragment(true) }

// datagram loads what identifies the datagram of a fragment.
func (l *layout) datagram() []expr.Any {
	words := l.addr / 4 // registers of an address
	var id expr.Any = load(expr.PayloadBaseNetworkHeader, 4, 2, reg0+2*words)
	if l.six == 1 {
		id = &expr.Exthdr{Type: unix.IPPROTO_FRAGMENT, Offset: 4, Len: 4, Op: expr.ExthdrOpIpv6, DestRegister: reg0 + 2*words}
	}
	return []expr.Any{
		load(expr.PayloadBaseNetworkHeader, l.src, l.addr, reg0),
		load(expr.PayloadBaseNetworkHeader, l.dst, l.addr, reg0+words),
		id,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0 + 2*words + 1},
	}
}

// fragments returns the rules for fragments of one IP version, which come before
// those for all packets.
func (l *layout) fragments() [][]expr.Any {
	name, id := firstFragmentsNames[l.six], firstFragmentsID(l.six)
	known := join(l.datagram(), []expr.Any{&expr.Lookup{SourceRegister: reg0, SetName: name, SetID: id}})
	return [][]expr.Any{
		join(l.laterFragment(), known, drop),
		join(l.laterFragment(), []expr.Any{&expr.Verdict{Kind: expr.VerdictReturn}}),
		join(l.in(virtual, l.dst, 2), l.noteFragment()),
		join(l.in(servers, l.src, 0), foreign(), l.noteFragment()),
		join(l.in(servers, l.src, 0), l.in(local, l.dst, 2), l.noteFragment()),
	}
}

// noteFragment adds the datagram of a fragment to the set.
func (l *layout) noteFragment() []expr.Any {
	return join(l.datagram(), []expr.Any{&expr.Dynset{
		SrcRegKey: reg0, SetName: firstFragmentsNames[l.six], SetID: firstFragmentsID(l.six), Operation: unix.NFT_DYNSET_OP_UPDATE}})
}

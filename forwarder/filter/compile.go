package filter

import (
	"golang.org/x/net/bpf"

	"uvs/forwarder/frame"
)

// family is where the headers of an IP version have what we look at, in bytes
// from the beginning of the frame.
type family struct {
	is4      bool
	proto    uint32 // protocol or next header
	src, dst uint32
}

var (
	ipv4 = family{true, frame.EthernetLen + 9, frame.EthernetLen + 12, frame.EthernetLen + 16}
	ipv6 = family{false, frame.EthernetLen + 6, frame.EthernetLen + 8, frame.EthernetLen + 24}
)

// Scratch memory: protocol<<16|port of either end.
const (
	dstEnd = iota
	srcEnd
)

// sources are the ends of flows by family, sorted by address.
type sources struct{ dst4, src4, dst6, src6 []item }

func sortEnds(r *Rules) *sources {
	return &sources{
		dst4: items(r.Virtual, r.Local, true), src4: items(r.Servers, nil, true),
		dst6: items(r.Virtual, r.Local, false), src6: items(r.Servers, nil, false),
	}
}

// compile returns the program at a grain; host rejects what the director sends
// itself.
func compile(s *sources, g grain, host bool) []bpf.Instruction {
	a := newAsm()
	v6, v4 := accept, accept
	if !g.all {
		v6 = a.always6(a.addresses(s.dst6, s.src6, g, ipv6))
		v4 = a.always4(a.addresses(s.dst4, s.src4, g, ipv4))
	}
	l := a.test(bpf.JumpEqual, frame.EtherIPv6, v6, reject)
	l = a.test(bpf.JumpEqual, frame.EtherARP, accept, l)
	l = a.test(bpf.JumpEqual, frame.EtherIPv4, v4, l)
	l = a.block(l, bpf.LoadAbsolute{Off: 12, Size: 2})
	if host {
		l = a.test(bpf.JumpEqual, frame.OwnMark, reject, l)
		a.block(l, bpf.LoadExtension{Num: bpf.ExtMark})
	}
	return a.program()
}

// addresses puts the searches for destination and source before all others, and
// before them what they need.
func (a *asm) addresses(dst, src []item, g grain, f family) label {
	bits := g.bits6
	if f.is4 {
		bits = g.bits4
	}
	l := a.searchRows(rows(src, bits, g.serverPorts), f.src, srcEnd, reject)
	l = a.searchRows(rows(dst, bits, g.virtualPorts), f.dst, dstEnd, l)
	if g.virtualPorts && len(dst) > 0 || g.serverPorts && len(src) > 0 {
		l = a.ends(l, f)
	}
	return l
}

// ends puts before all others the code that writes both ends' protocol and port
// to scratch memory. Protocols other than TCP, UDP and SCTP have port 0.
func (a *asm) ends(next label, f family) label {
	a.block(next, f.port(2, dstEnd)...)
	ports := a.block(a.first(), f.port(0, srcEnd)...)
	l := a.jump(next) // of a protocol without ports
	for _, proto := range []uint32{frame.ProtoSCTP, frame.ProtoUDP, frame.ProtoTCP} {
		l = a.test(bpf.JumpEqual, proto, ports, l)
	}
	return a.block(l,
		bpf.LoadAbsolute{Off: f.proto, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 16},
		bpf.StoreScratch{Src: bpf.RegA, N: dstEnd},
		bpf.StoreScratch{Src: bpf.RegA, N: srcEnd},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16},
	)
}

// port adds the port at an offset of the transport header to scratch memory.
func (f family) port(offset uint32, scratch int) []bpf.Instruction {
	load := []bpf.Instruction{bpf.LoadAbsolute{Off: frame.EthernetLen + 40 + offset, Size: 2}}
	if f.is4 {
		load = []bpf.Instruction{
			bpf.LoadMemShift{Off: frame.EthernetLen}, // header length in bytes
			bpf.LoadIndirect{Off: frame.EthernetLen + offset, Size: 2},
		}
	}
	return append(load,
		bpf.TAX{},
		bpf.LoadScratch{Dst: bpf.RegA, N: scratch},
		bpf.ALUOpX{Op: bpf.ALUOpOr},
		bpf.StoreScratch{Src: bpf.RegA, N: scratch},
	)
}

// always4 puts before all others the admission of ICMP and of fragments: an
// offset or the more-fragments flag.
func (a *asm) always4(next label) label {
	l := a.test(bpf.JumpBitsSet, 0x3fff, accept, next)
	l = a.block(l, bpf.LoadAbsolute{Off: frame.EthernetLen + 6, Size: 2})
	l = a.test(bpf.JumpEqual, frame.ProtoICMP, accept, l)
	return a.block(l, bpf.LoadAbsolute{Off: ipv4.proto, Size: 1})
}

// always6 puts before all others the admission of ICMPv6 and of whatever has
// extension headers.
func (a *asm) always6(next label) label {
	l := next
	for _, proto := range []uint32{frame.ProtoAH, frame.ProtoMobility, frame.ProtoDestOpts, frame.ProtoRouting, frame.ProtoHopByHop, frame.ProtoFragment, frame.ProtoICMPv6} {
		l = a.test(bpf.JumpEqual, proto, accept, l)
	}
	return a.block(l, bpf.LoadAbsolute{Off: ipv6.proto, Size: 1})
}

package filter

import (
	"maps"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// family holds the offsets of the header fields of an IP version, in bytes from the
// beginning of the frame.
type family struct {
	is4      bool
	ip       uint32 // the header itself
	proto    uint32 // protocol or next header
	src, dst uint32
}

func ipv4(ip uint32) family { return family{true, ip, ip + 9, ip + 12, ip + 16} }

func ipv6(ip uint32) family { return family{false, ip, ip + 6, ip + 8, ip + 24} }

// Scratch memory: protocol<<16|port of either end.
const (
	dstEnd = iota
	srcEnd
)

// compile returns the program of a precision.
func compile(s *Ends, g precision, scope *Scope) []bpf.Instruction {
	a := newAsm()
	l := a.frames(s, g, frame.EthernetLen)
	switch {
	case scope.Links != nil:
		a.links(scope.Links, l, s, g)
	case scope.Host:
		a.foreign(l)
	}
	return a.program()
}

// frames prepends the program for frames whose IP header is so many bytes from their
// beginning.
func (a *asm) frames(s *Ends, g precision, ip uint32) label {
	v6, v4 := accept, accept
	if !g.all {
		v6 = a.always6(a.addresses(s.dst6, s.src6, g, ipv6(ip)), ip)
		v4 = a.always4(a.addresses(s.dst4, s.src4, g, ipv4(ip)), ip)
	}
	l := a.test(bpf.JumpEqual, frame.EtherIPv6, v6, reject)
	l = a.test(bpf.JumpEqual, frame.EtherARP, accept, l)
	l = a.test(bpf.JumpEqual, frame.EtherIPv4, v4, l)
	if ip == 0 {
		return a.block(l, bpf.LoadExtension{Num: bpf.ExtProto})
	}
	return a.block(l, bpf.LoadAbsolute{Off: 12, Size: 2})
}

// foreign prepends the rejection of what the director itself sends.
func (a *asm) foreign(next label) label {
	l := a.test(bpf.JumpEqual, frame.OwnMark, reject, next)
	return a.block(l, bpf.LoadExtension{Num: bpf.ExtMark})
}

// linkSteps is how many ranges of interfaces a program may tell apart.
const linkSteps = 1024

// links prepends the choice by interface: frames is the label for those with an
// Ethernet header.
func (a *asm) links(ls *Links, frames label, s *Ends, g precision) label {
	to := map[int]label{}
	for _, i := range ls.Ethernet {
		to[i] = frames
	}
	if len(ls.Bare) > 0 {
		bare := a.frames(s, g, 0)
		for _, i := range ls.Bare {
			to[i] = bare
		}
	}
	if ls.Loopback != 0 {
		to[ls.Loopback] = a.foreign(frames)
	}
	steps := []step{{0, reject}}
	for _, i := range slices.Sorted(maps.Keys(to)) {
		last := &steps[len(steps)-1]
		switch {
		case last.from == uint32(i) && len(steps) > 1 && steps[len(steps)-2].to == to[i]:
			steps = steps[:len(steps)-1]
		case last.from == uint32(i):
			last.to = to[i]
		default:
			steps = append(steps, step{uint32(i), to[i]})
		}
		steps = append(steps, step{uint32(i) + 1, reject})
	}
	if len(steps) > linkSteps {
		return a.linkTypes(ls, frames, to)
	}
	l := a.search(steps)
	return a.block(l, bpf.LoadExtension{Num: bpf.ExtInterfaceIndex})
}

// hardwareType loads the ARPHRD_ number of the interface (SKF_AD_HATYPE in
// linux/filter.h), for which the library has no name.
const hardwareType bpf.Extension = 28

// linkTypes replaces links if there are more interfaces than a program can distinguish:
// all of a kind are treated alike.
func (a *asm) linkTypes(ls *Links, frames label, to map[int]label) label {
	bare, lo := reject, reject
	if len(ls.Bare) > 0 {
		bare = to[ls.Bare[0]]
	}
	if ls.Loopback != 0 {
		lo = to[ls.Loopback]
	}
	l := a.test(bpf.JumpEqual, unix.ARPHRD_ETHER, frames, bare)
	l = a.test(bpf.JumpEqual, unix.ARPHRD_LOOPBACK, lo, l)
	return a.block(l, bpf.LoadExtension{Num: hardwareType})
}

// addresses prepends the searches for destination and source, and before them the loads
// they need.
func (a *asm) addresses(dst, src []item, g precision, f family) label {
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

// ends prepends the code that writes both ends' protocol and port to scratch memory.
// Protocols other than TCP, UDP and SCTP have port 0.
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
	load := []bpf.Instruction{bpf.LoadAbsolute{Off: f.ip + 40 + offset, Size: 2}}
	if f.is4 {
		load = []bpf.Instruction{
			bpf.LoadMemShift{Off: f.ip}, // header length in bytes
			bpf.LoadIndirect{Off: f.ip + offset, Size: 2},
		}
	}
	return append(load,
		bpf.TAX{},
		bpf.LoadScratch{Dst: bpf.RegA, N: scratch},
		bpf.ALUOpX{Op: bpf.ALUOpOr},
		bpf.StoreScratch{Src: bpf.RegA, N: scratch},
	)
}

// always4 prepends the admission of ICMP and of fragments: an offset or the
// more-fragments flag.
func (a *asm) always4(next label, ip uint32) label {
	l := a.test(bpf.JumpBitsSet, 0x3fff, accept, next)
	l = a.block(l, bpf.LoadAbsolute{Off: ip + 6, Size: 2})
	l = a.test(bpf.JumpEqual, frame.ProtoICMP, accept, l)
	return a.block(l, bpf.LoadAbsolute{Off: ipv4(ip).proto, Size: 1})
}

// always6 prepends the admission of ICMPv6 and of everything with extension headers.
func (a *asm) always6(next label, ip uint32) label {
	l := next
	for _, proto := range []uint32{frame.ProtoAH, frame.ProtoMobility, frame.ProtoDestOpts, frame.ProtoRouting, frame.ProtoHopByHop, frame.ProtoFragment, frame.ProtoICMPv6} {
		l = a.test(bpf.JumpEqual, proto, accept, l)
	}
	return a.block(l, bpf.LoadAbsolute{Off: ipv6(ip).proto, Size: 1})
}

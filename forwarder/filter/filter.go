// Package filter builds the classic BPF program that a port runs in the kernel, so that
// traffic not meant for the director never wakes it.
//
// A program admits
//
//   - ARP, ICMP, ICMPv6 (neighbour discovery, packet too big), and all
//     fragments, which may carry no ports, always;
//   - packets to a service, from a real server, or to a local address;
//   - IPv6 packets with extension headers, where ports are not at a fixed place.
//
// Everything else is rejected: other EtherTypes, frames with a VLAN tag in their bytes,
// packets too short for their ports. Admitting too much costs time; rejecting too much
// breaks connections. So a program that would be longer than the kernel accepts is made
// coarser, step by step: servers, then services by address without their ports, then by
// ever shorter prefixes, finally all IP.
//
// Addresses and ports are found by binary search, so a packet takes some 2·log2(n)
// jumps. Jumps in classic BPF go forward only, and conditional ones 255 instructions at
// most: the package's assembler works backwards, from the last instruction to the
// first, so that each target is known.
package filter

import (
	"net/netip"
	"slices"
)

// DefaultLimit is the number of instructions a classic program may have
// (BPF_MAXINSNS in linux/bpf_common.h).
const DefaultLimit = 4096

// Tuple is one end of a flow.
type Tuple struct {
	Proto uint8 // IP protocol, 0 for any
	Addr  netip.Addr
	Port  uint16 // 0 for any, and for protocols without ports
}

// Scope is what a program is for, besides the ends.
type Scope struct {
	All   bool   // all IP packets
	Host  bool   // for the loopback interface: nothing with frame.OwnMark
	Links *Links // for a port of all interfaces: those that all this applies to
}

// Links are interfaces by index. Frames from others are rejected, unless that makes the
// program too long.
type Links struct {
	Ethernet []int
	Bare     []int // their frames have no Ethernet header
	Loopback int   // 0: not one of the director's; else as for Scope.Host
}

func (s *Scope) equal(other *Scope) bool {
	if s.All != other.All || s.Host != other.Host || (s.Links == nil) != (other.Links == nil) {
		return false
	}
	return s.Links == nil || slices.Equal(s.Links.Ethernet, other.Links.Ethernet) &&
		slices.Equal(s.Links.Bare, other.Links.Bare) && s.Links.Loopback == other.Links.Loopback
}

// precision is how exactly a program distinguishes packets.
type precision struct {
	virtualPorts, serverPorts bool // protocol and port matter, not only the address
	bits4, bits6              int  // of the addresses
	all                       bool
}

// precisions are tried in this order.
var precisions = []precision{
	{true, true, 32, 128, false},
	{true, false, 32, 128, false},
	{false, false, 32, 128, false},
	{false, false, 28, 112, false},
	{false, false, 24, 64, false},
	{false, false, 20, 60, false},
	{false, false, 16, 48, false},
	{false, false, 12, 40, false},
	{false, false, 8, 32, false},
	{all: true},
}

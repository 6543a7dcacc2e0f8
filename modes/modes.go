// Package modes rewrites frames: one file for each of ipvsadm's forwarding
// methods, and others for the packets that the director itself sends: ICMP errors,
// echo replies, RST and ABORT. A frame goes in, a frame and a verdict come out; no
// socket, no table, no clock.
//
// A Mode is made once for a real server, when its route is known, and shared by all
// workers. The forwarder finds the connection, sets f.MTU from the next hop, calls
// Request or Reply, and writes the MAC addresses. A packet that then exceeds f.MTU,
// or arrived in fragments, it cuts with frame.Fragments. A mode refuses a frame
// (DropTTL, DropTooBig) before it has changed anything but the TTL, so the answer to
// the sender (TimeExceeded, TooBig) can quote the frame; with DropTooBig f.MTU is
// the MTU to tell.
//
// ICMP errors about a connection are frames of it: Embedded gives the flow they are
// about, and Request and Reply translate both the message and the packet it quotes.
//
// Frames are whole datagrams: fragments have gone through a frame.Reassembler.
// Several segments in one frame (GSO) stay together if Mode.Whole says so;
// otherwise the forwarder splits them first. Nothing here allocates.
package modes

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// Mode is the behaviour of a forwarding method towards one real server. It is
// safe for concurrent use; frames are not.
type Mode interface {
	// Request rewrites a frame from the client for the real server.
	Request(f *frame.Frame, c *conntrack.Conn) frame.Verdict
	// Reply rewrites a frame from the real server for the client. Methods whose
	// servers answer the client directly return Pass.
	Reply(f *frame.Frame, c *conntrack.Conn) frame.Verdict
	// Whole reports whether a frame that is several segments in one can be sent
	// to the server as it is.
	Whole() bool
}

// request does what IPVS does before it sends a packet to a real server: it
// decrements the TTL, then compares with the MTU (ip_vs_xmit.c,
// __ip_vs_get_out_rt), so a too-big message quotes the lowered TTL. A server on the
// director itself gets the TTL unchanged.
func request(f *frame.Frame) frame.Verdict {
	if !f.Host && !f.DecrementTTL() {
		return frame.DropTTL
	}
	if tooBig(f, f.L3Len(), f.MTU) {
		return frame.DropTooBig
	}
	completeOffload(f)
	return frame.Forward
}

// reply does the same in a router's order, because for the kernel replies are
// forwarded packets (ip_forward.c, ip_forward): a too-big message quotes the TTL
// as it arrived.
func reply(f *frame.Frame) frame.Verdict {
	if v := Forwardable(f); v != frame.Forward {
		return v
	}
	if !f.Host {
		f.DecrementTTL()
	}
	completeOffload(f)
	return frame.Forward
}

// Forwardable returns Forward for a packet that a router may forward: its TTL is
// not used up, and it fits f.MTU or may be fragmented. Otherwise it returns the
// drop.
func Forwardable(f *frame.Frame) frame.Verdict {
	if !f.Host && f.Info.TTL <= 1 {
		return frame.DropTTL
	}
	if tooBig(f, arrivedLen(f), f.MTU) {
		return frame.DropTooBig
	}
	return frame.Forward
}

// completeOffload completes the checksums that no offload can: SCTP's, which the
// kernel would take for the Internet checksum, and that of datagrams that will
// leave in fragments.
func completeOffload(f *frame.Frame) {
	if f.Offload.Partial() && (f.Info.Proto == frame.ProtoSCTP || f.MTU != 0 && f.L3Len() > f.MTU) {
		f.CompleteChecksum()
	}
}

// arrivedLen returns the length of the packet, or of the largest fragment of it.
func arrivedLen(f *frame.Frame) int {
	if f.Pieces != nil {
		return f.Pieces.Max
	}
	return f.L3Len()
}

// tooBig reports whether the sender must be told that the packet of n bytes does
// not fit: it is IPv6, or IPv4 with DF. An IPv6 packet that arrived in fragments is
// judged by the largest of them; for IPv4, IPVS does so for replies only. ICMP
// errors are fragmented rather than answered.
func tooBig(f *frame.Frame, n, mtu int) bool {
	if f.Is6() {
		n = arrivedLen(f)
	} else if !f.Info.DF || isICMPError(f) {
		return false
	}
	if f.Offload.Super() {
		n = f.SegmentLen()
	}
	return mtu != 0 && n > mtu
}

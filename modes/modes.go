// Package modes rewrites frames: one file for each of ipvsadm's forwarding
// methods, and one for the ICMP messages that go with them. Frame in, frame
// out, verdict; no socket, no table, no clock.
//
// A Mode is made once for a real server, when its route is known, and shared
// by all workers. The forwarder finds the connection, sets f.MTU from the next
// hop, calls Request or Reply, and writes the MAC addresses. What then exceeds
// f.MTU, or arrived in fragments, it cuts with frame.Fragments. A refusal
// (DropTTL, DropTooBig) comes before anything but the TTL has changed, so the
// answer to the sender (TimeExceeded, TooBig) can quote the frame; for
// DropTooBig f.MTU then is what to tell it.
//
// ICMP errors about a connection are frames of it: Embedded gives the flow they
// speak of, and Request and Reply translate them inside and out.
//
// Frames are whole datagrams: fragments have gone through a frame.Reassembler.
// Several segments in one frame stay so where Mode.Whole says; else the
// forwarder splits them first. Nothing here allocates.
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
	// servers answer the client themselves say Pass.
	Reply(f *frame.Frame, c *conntrack.Conn) frame.Verdict
	// Whole reports whether a frame that is several segments in one can stay so
	// on its way to the server.
	Whole() bool
}

// request does what IPVS does before it sends a packet to a real server: take
// one from the TTL, then compare with the MTU (ip_vs_xmit.c,
// __ip_vs_get_out_rt), so that a too-big message quotes the lowered TTL. A
// server on the director itself gets the TTL as it came.
func request(f *frame.Frame) frame.Verdict {
	if !f.Host && !f.DecrementTTL() {
		return frame.DropTTL
	}
	if tooBig(f, f.L3Len(), f.MTU) {
		return frame.DropTooBig
	}
	settle(f)
	return frame.Forward
}

// reply does the same in the order of a router, which replies pass as
// (ip_forward.c, ip_forward): a too-big message quotes the TTL as it came.
func reply(f *frame.Frame) frame.Verdict {
	if v := Forwardable(f); v != frame.Forward {
		return v
	}
	if !f.Host {
		f.DecrementTTL()
	}
	settle(f)
	return frame.Forward
}

// Forwardable says whether a router forwards a packet as it came: its hops are not
// used up, and it fits f.MTU or may be cut.
func Forwardable(f *frame.Frame) frame.Verdict {
	if !f.Host && f.Info.TTL <= 1 {
		return frame.DropTTL
	}
	if tooBig(f, arrived(f), f.MTU) {
		return frame.DropTooBig
	}
	return frame.Forward
}

// settle completes what no offload can: SCTP's checksum, which the kernel would
// take for the Internet's, and that of datagrams that will leave in fragments.
func settle(f *frame.Frame) {
	if f.Offload.Partial() && (f.Info.Proto == frame.ProtoSCTP || f.MTU != 0 && f.L3Len() > f.MTU) {
		f.CompleteChecksum()
	}
}

// arrived returns the length of the packet, or of the largest fragment of it.
func arrived(f *frame.Frame) int {
	if f.Pieces != nil {
		return f.Pieces.Max
	}
	return f.L3Len()
}

// tooBig reports whether the sender must be told that the packet of n bytes
// does not fit: it is IPv6, or IPv4 with DF. What IPv6 sent in fragments goes by
// the largest; for IPv4 IPVS asks that of replies only. ICMP errors are cut
// rather than answered.
func tooBig(f *frame.Frame, n, mtu int) bool {
	if f.Is6() {
		n = arrived(f)
	} else if !f.Info.DF || isICMPError(f) {
		return false
	}
	if f.Offload.Super() {
		n = f.SegmentLen()
	}
	return mtu != 0 && n > mtu
}

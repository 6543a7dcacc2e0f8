package modes

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// NAT is masquerading, ipvsadm -m: the client sees the virtual address, the
// server sees the client's.
type NAT struct{}

var _ Mode = NAT{}

// Request replaces the destination by the server.
func (NAT) Request(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if v := request(f); v != frame.Forward {
		return v
	}
	if isICMP(f) {
		return natError(f, 1, &c.Real, c.RealPort)
	}
	return setEnd(f, 1, &c.Real, c.RealPort)
}

// Reply replaces the source by the service.
func (NAT) Reply(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if v := reply(f); v != frame.Forward {
		return v
	}
	if isICMP(f) {
		return natError(f, 0, &c.Virtual, c.VirtualPort)
	}
	return setEnd(f, 0, &c.Virtual, c.VirtualPort)
}

// Whole is true: the segments of a frame share the headers that change.
func (NAT) Whole() bool { return true }

// setEnd replaces source (0) or destination (1). A fragment of a protocol with
// ports should have been reassembled and cannot be translated.
func setEnd(f *frame.Frame, end int, addr *[16]byte, port uint16) frame.Verdict {
	if f.Info.Fragment && hasPorts(f.Info.Proto) {
		return frame.DropUnsupported
	}
	if end == 0 {
		f.SetSource(addr, port)
	} else {
		f.SetDestination(addr, port)
	}
	return frame.Forward
}

func hasPorts(proto uint8) bool {
	return proto == frame.ProtoTCP || proto == frame.ProtoUDP || proto == frame.ProtoSCTP
}

package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// repeatsSYN reports whether f begins connection c once more.
func repeatsSYN(f *frame.Frame, c *conntrack.Conn) bool {
	const bits = frame.FlagSYN | frame.FlagACK | frame.FlagRST
	return f.Info.Proto == frame.ProtoTCP && f.Info.TCPFlags&bits == frame.FlagSYN && c.State() == conntrack.TCPSynRecv
}

// doubtSilent has the next hops to servers that are not heard of asked about. It
// is called every EstimatorStep.
func (fw *Forwarder) doubtSilent() {
	for _, a := range fw.Silent() {
		fw.neigh.Doubt(a)
	}
}

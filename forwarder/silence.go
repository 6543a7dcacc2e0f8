package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// repeatsSYN reports whether f repeats the SYN of connection c.
func repeatsSYN(f *frame.Frame, c *conntrack.Conn) bool {
	const bits = frame.FlagSYN | frame.FlagACK | frame.FlagRST
	return f.Info.Proto == frame.ProtoTCP && f.Info.TCPFlags&bits == frame.FlagSYN && c.State() == conntrack.TCPSynRecv
}

// probeSilent makes the next hops to silent servers be probed.
func (fw *Forwarder) probeSilent() {
	for _, a := range fw.Silent() {
		fw.neigh.Probe(a)
	}
}

package main

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/modes"
	"uvs/sched"
)

// marked is the forwarding method `ipvsadm -a --marked`: masquerading, and what goes
// to the server asks the switches on its path for expedited forwarding. Replies come
// back to the director as with masquerading.
var marked = modes.Register(
	sched.Traits{Word: "marked", Listed: "Marked", Option: "marked", Translates: true, Masquerades: true},
	func(modes.Settings) modes.Maker {
		return func(modes.Target) modes.Mode { return markedNAT{} }
	})

type markedNAT struct{ modes.NAT }

// expedited is the DSCP of expedited forwarding (RFC 3246 section 2.9).
const expedited = 46

// Request translates the destination and sets DSCP. ECN stays (RFC 3168 section 5).
func (m markedNAT) Request(f *frame.Frame, c *conntrack.Conn) frame.Verdict {
	if v := m.NAT.Request(f, c); v != frame.Forward {
		return v
	}
	ip := f.L3()
	if !f.Is4() { // the traffic class lies across two bytes (RFC 8200 section 3)
		ip[0], ip[1] = ip[0]&0xf0|expedited>>2, expedited&3<<6|ip[1]&0x3f
		return frame.Forward
	}
	old := [2]byte(ip[:2])
	ip[1] = expedited<<2 | ip[1]&3
	frame.Apply(ip[10:], frame.Delta(old[:], ip[:2]))
	return frame.Forward
}

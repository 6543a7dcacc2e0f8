package modes

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// DR is direct routing, ipvsadm -g: the packet goes to the server's MAC address
// unchanged except for the TTL.
type DR struct{}

var _ Mode = DR{}

// Request decrements the TTL.
func (DR) Request(f *frame.Frame, _ *conntrack.Conn) frame.Verdict { return request(f) }

// Reply is Pass: the server answers the client itself.
func (DR) Reply(*frame.Frame, *conntrack.Conn) frame.Verdict { return frame.Pass }

// Whole is true.
func (DR) Whole() bool { return true }

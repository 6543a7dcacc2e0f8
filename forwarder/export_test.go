package forwarder

import "testing"

// NewTestbed returns a director in memory without services, in the network of
// network_test.go, and a function that puts a frame on the wire of a link and returns the
// frames that come out. It is for tests that use only what packages export.
func NewTestbed(t testing.TB) (fw *Forwarder, send func(link int, frame []byte) [][]byte) {
	b := newTestbed(t, "")
	return b.fw, func(link int, frame []byte) (out [][]byte) {
		for _, s := range b.send(link, frame) {
			out = append(out, s.b)
		}
		return out
	}
}

// Segment and Judge build a TCP segment and describe a frame.
var (
	Segment = seg
	Judge   = judge
)

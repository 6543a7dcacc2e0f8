package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/modes"
)

// towardsServer translates what a packet from the client says of the numbers of a server
// behind the SYN proxy: acknowledgements, selective ones, echoed time stamps, and the
// number of a segment that an ICMP error quotes. A window is translated too if client and
// server do not agree about its scale.
func (w *worker) towardsServer(f *frame.Frame, c *conntrack.Conn) {
	d, ok := w.fw.conns.Distance(c)
	if !ok {
		return
	}
	if f.Info.Proto != frame.ProtoTCP {
		modes.Renumber(f, -d.Seq)
		return
	}
	if f.Info.TCPFlags&frame.FlagACK != 0 {
		f.AddTCPSeq(0, -d.Seq)
		f.AddTCPTimestamps(0, -d.Stamp)
	}
	if d.Client != conntrack.NoScale && d.Server == conntrack.NoScale && f.Info.TCPFlags&frame.FlagSYN == 0 {
		f.SetTCPWindow(uint16(min(uint32(f.TCPWindow())<<d.Client, 65535)))
	}
}

// towardsClient translates the numbers of the server themselves. The client was told a
// window scale of its own, which also a SYN that comes again repeats.
func (w *worker) towardsClient(f *frame.Frame, c *conntrack.Conn) {
	d, ok := w.fw.conns.Distance(c)
	if !ok || f.Info.Proto != frame.ProtoTCP {
		return
	}
	f.AddTCPSeq(d.Seq, 0)
	f.AddTCPTimestamps(d.Stamp, 0)
	switch {
	case d.Client == conntrack.NoScale:
	case f.Info.TCPFlags&frame.FlagSYN != 0:
		modes.SetScale(f, proxyScale)
	case d.Server != proxyScale:
		f.SetTCPWindow(rescaled(f.TCPWindow(), d.Server))
	}
}

// rescaled returns a window of a server's scale in that of which the client was told.
func rescaled(window uint16, scale uint8) uint16 {
	if scale == conntrack.NoScale {
		scale = 0
	}
	return uint16(min(uint32(window)<<scale>>proxyScale, 65535))
}

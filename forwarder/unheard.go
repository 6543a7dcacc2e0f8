package forwarder

import (
	"net/netip"
	"sync/atomic"

	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// unheard is what tells that packets to a server may not reach it: a machine that
// has another MAC address now need not say so. Linux takes TCP's progress for a
// neighbour's confirmation (dst_confirm); here the lack of it makes the director
// ask again. Of a server by NAT or FULLNAT the lack of replies is known, of others
// only that a client repeats its SYN.
type unheard struct {
	repeated atomic.Bool // a client repeated its SYN since the last look

	// Guarded by Services.mu.
	seen Traffic // the server's counters at the last look
	mute int     // looks that found packets to the server, since one found any from it
}

func (u *unheard) repeat() {
	if !u.repeated.Load() {
		u.repeated.Store(true)
	}
}

// repeatsSYN reports whether f begins connection c once more.
func repeatsSYN(f *frame.Frame, c *conntrack.Conn) bool {
	const bits = frame.FlagSYN | frame.FlagACK | frame.FlagRST
	return f.Info.Proto == frame.ProtoTCP && f.Info.TCPFlags&bits == frame.FlagSYN && c.State() == conntrack.TCPSynRecv
}

// doubtSilent has the next hops to servers that are not heard of asked about. It
// is called every EstimatorStep.
func (fw *Forwarder) doubtSilent() {
	for _, a := range fw.silent() {
		fw.neigh.Doubt(a)
	}
}

// muteLooks is how often packets to a server must have been seen without any from
// it: the last of a connection needs no answer.
const muteLooks = 2

// silent returns the addresses of the servers that give no sign of life though
// they should.
func (s *Services) silent() (all []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.byKey {
		for _, server := range v.Servers {
			mute := server.unheard.look(server.Counters.Load()) && repliesReturn(server.Method())
			if server.unheard.repeated.Swap(false) || mute {
				all = append(all, server.Options().Addr)
			}
		}
	}
	return all
}

// look takes the server's counters and reports whether it is mute.
func (u *unheard) look(now Traffic) bool {
	asked, answered := now.InPkts != u.seen.InPkts, now.OutPkts != u.seen.OutPkts
	u.seen = now
	switch {
	case answered:
		u.mute = 0
	case asked:
		u.mute++
	}
	return asked && u.mute >= muteLooks
}

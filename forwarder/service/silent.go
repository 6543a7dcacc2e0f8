package service

import (
	"net/netip"
	"sync/atomic"
)

// Unheard detects that packets to a server may not reach it: a machine need not
// announce that it has a new MAC address. Linux takes the progress of TCP as a
// confirmation of the neighbour (dst_confirm); here the lack of it makes the director
// ask again. For a server by NAT or FULLNAT the lack of replies is known, for others
// only that a client repeats its SYN.
type Unheard struct {
	repeated atomic.Bool // a client repeated its SYN since the last look

	// Guarded by Table.mu.
	seen Traffic // the server's counters at the last look
	mute int     // looks that found packets to the server, since the last that found any from it
}

// Repeat records that a client repeated its SYN.
func (u *Unheard) Repeat() {
	if !u.repeated.Load() {
		u.repeated.Store(true)
	}
}

// muteLooks is how often packets to a server must have been seen without any from it:
// the last packet of a connection needs no reply.
const muteLooks = 2

// Silent returns the addresses of the servers that do not reply though they should.
func (s *Table) Silent() (all []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.byKey {
		for _, server := range v.Servers {
			mute := server.Unheard.look(server.Counters.Load()) && server.Method().Translates()
			if server.Unheard.repeated.Swap(false) || mute {
				all = append(all, server.Options().Addr)
			}
		}
	}
	return all
}

// look compares the server's counters with those of the last look and reports whether
// it is mute.
func (u *Unheard) look(now Traffic) bool {
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

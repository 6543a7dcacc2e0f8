package service

import (
	"net/netip"
	"sync/atomic"
)

// Unheard is what tells that packets to a server may not reach it: a machine that
// has another MAC address now need not say so. Linux takes TCP's progress for a
// neighbour's confirmation (dst_confirm); here the lack of it makes the director
// ask again. Of a server by NAT or FULLNAT the lack of replies is known, of others
// only that a client repeats its SYN.
type Unheard struct {
	repeated atomic.Bool // a client repeated its SYN since the last look

	// Guarded by Table.mu.
	seen Traffic // the server's counters at the last look
	mute int     // looks that found packets to the server, since one found any from it
}

// Repeat notes that a client repeated its SYN.
func (u *Unheard) Repeat() {
	if !u.repeated.Load() {
		u.repeated.Store(true)
	}
}

// muteLooks is how often packets to a server must have been seen without any from
// it: the last of a connection needs no answer.
const muteLooks = 2

// Silent returns the addresses of the servers that give no sign of life though
// they should.
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

// look takes the server's counters and reports whether it is mute.
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

package service

import (
	"net/netip"
	"sync/atomic"
)

// Silence detects that packets to a server may not reach it: a machine need not
// announce that it has a new MAC address. Linux takes the progress of TCP as a
// confirmation of the neighbour (dst_confirm); here the lack of it makes the director
// ask again. For a server by NAT or FULLNAT the lack of replies is known, for others
// only that a client repeats its SYN.
type Silence struct {
	repeated atomic.Bool // a client repeated its SYN since the last sample

	// Guarded by Table.mu.
	last   Traffic // the server's counters at the last sample
	silent int     // samples that found packets to the server, since the last that found any from it
}

// RepeatedSYN records that a client repeated its SYN.
func (u *Silence) RepeatedSYN() {
	if !u.repeated.Load() {
		u.repeated.Store(true)
	}
}

// silentSamples is how often packets to a server must have been seen without any from it:
// the last packet of a connection needs no reply.
const silentSamples = 2

// Silent returns the addresses of the servers that do not reply though they should.
func (s *Table) Silent() (all []netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.byKey {
		for _, server := range v.Servers {
			silent := server.Silence.sample(server.Counters.Load()) && server.Method().Translates()
			if server.Silence.repeated.Swap(false) || silent {
				all = append(all, server.Options().Addr)
			}
		}
	}
	return all
}

// sample compares the server's counters with those of the last sample and reports whether
// it is mute.
func (u *Silence) sample(now Traffic) bool {
	asked, answered := now.InPkts != u.last.InPkts, now.OutPkts != u.last.OutPkts
	u.last = now
	switch {
	case answered:
		u.silent = 0
	case asked:
		u.silent++
	}
	return asked && u.silent >= silentSamples
}

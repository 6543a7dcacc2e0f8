package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"

	"uvs/forwarder/frame"
	"uvs/sched"
)

func init() {
	sched.Register("hrw", func(sched.Flags, sched.Options) sched.Scheduler { return &hrw{} })
}

// hrw is rendezvous hashing (highest random weight; Thaler and Ravishankar, 1998):
// client and server give a hash for each server, and the highest score wins. When a
// server goes, only its own clients move. The score is weight / -ln(u), with the
// hash as u in (0, 1), so a server's share of the clients is that of its weight.
// A pick goes through all servers.
type hrw struct {
	mu      sync.RWMutex
	servers []*sched.RealServer
}

// Name returns "hrw".
func (h *hrw) Name() string { return "hrw" }

// Add adds a server; a second time it has no effect.
func (h *hrw) Add(s *sched.RealServer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Contains(h.servers, s) {
		h.servers = append(h.servers, s)
	}
}

// Remove removes a server.
func (h *hrw) Remove(s *sched.RealServer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers = slices.DeleteFunc(h.servers, func(other *sched.RealServer) bool { return other == s })
}

// Update does nothing: weights are read at each pick.
func (h *hrw) Update(*sched.RealServer) {}

// Count does nothing: connections do not matter, but for the overload state, which
// is read at each pick.
func (h *hrw) Count(*sched.RealServer) {}

// Pick returns the eligible server with the highest score for the client's address.
func (h *hrw) Pick(f *frame.Flow, rec *sched.Record) *sched.RealServer {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if rec != nil {
		rec.Beginf("hrw", "highest weight / -ln(u), u = hash(%s, server)", f.Src())
	}
	var best *sched.RealServer
	highest := 0.0
	for _, s := range h.servers {
		u := uniform(f.Src16(), s)
		score := float64(s.Weight()) / -math.Log(u)
		if rec != nil {
			rec.Add(s, fmt.Sprintf("%d / -ln(%.3f) = %.2f", s.Weight(), u, score))
		}
		if s.Eligible() && score > highest {
			best, highest = s, score
		}
	}
	if rec != nil {
		rec.Choose(best)
	}
	return best
}

// uniform returns a number in (0, 1) that looks random and depends on the client
// and the server's address and port alone: all directors choose alike.
func uniform(client [16]byte, s *sched.RealServer) float64 {
	server := s.Addr.Addr().As16()
	x := uint64(s.Addr.Port())
	for _, part := range [][]byte{client[:8], client[8:], server[:8], server[8:]} {
		x = mix(x ^ binary.BigEndian.Uint64(part))
	}
	return (float64(x>>12) + 0.5) / (1 << 52)
}

// mix spreads every bit of x over all of them. It is the finalizer of MurmurHash3.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

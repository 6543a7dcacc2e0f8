package service

import (
	"net/netip"
	"sync/atomic"

	"uvs/forwarder/config"
)

// Refusals count what the packets of others show about a server: connections whose client
// had to repeat its SYN, connections that the server reset in answer to the SYN, and those
// with an ICMP error that says it cannot be reached. They cost something only where such a packet
// comes. All methods are safe for concurrent use.
type Refusals struct {
	noReply, resets, unreachable atomic.Uint64
}

// NoReply counts a connection whose client repeated its SYN for the first time.
func (r *Refusals) NoReply() { r.noReply.Add(1) }

// Reset counts a reset in answer to a SYN.
func (r *Refusals) Reset() { r.resets.Add(1) }

// Unreachable counts a connection with an ICMP error, destination unreachable.
func (r *Refusals) Unreachable() { r.unreachable.Add(1) }

// Load returns the counters.
func (r *Refusals) Load() config.Refusals {
	return config.Refusals{NoReply: r.noReply.Load(), Resets: r.resets.Load(), Unreachable: r.unreachable.Load()}
}

// RefusalsOf returns what is known about a server, and its connections so far. It may
// fail with ErrNoSuchService or ErrNoSuchServer.
func (s *Table) RefusalsOf(k config.Key, addr netip.AddrPort) (r config.Refusals, conns uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.service(k)
	if err != nil {
		return r, 0, err
	}
	server, err := s.server(v, addr)
	if err != nil {
		return r, 0, err
	}
	return server.Refusals.Load(), server.Counters.Load().Conns, nil
}

// NewRefusals returns the servers that have more refusals than at the last call.
func (s *Table) NewRefusals() (all []RefusalChange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.byKey {
		for _, server := range v.Servers {
			now := server.Refusals.Load()
			if now == server.told {
				continue
			}
			all = append(all, RefusalChange{v.Key, server.Addr, now.Since(server.told)})
			server.told = now
		}
	}
	return all
}

// RefusalChange is how many refusals have come of a server.
type RefusalChange struct {
	Key    config.Key
	Server netip.AddrPort
	More   config.Refusals
}

package forwarder

import (
	"sync/atomic"

	"uvs/conntrack"
)

// prepareCopies makes room for what remember stores, 8 bytes an entry.
func (s *synchronization) prepareCopies() {
	if s.copies.Load() == nil {
		all := make([]atomic.Uint64, s.fw.conns.Capacity()+1)
		s.copies.CompareAndSwap(nil, &all)
	}
}

// remember stores what a message made an entry, so that untouched can tell whether packets
// have changed it since. Packets themselves store nothing for that.
func (s *synchronization) remember(c *conntrack.Conn, packets uint32, now conntrack.Tick) {
	if all := s.copies.Load(); all != nil {
		(*all)[s.fw.conns.Ref(c)].Store(copyMark(packets, now))
	}
}

// untouched reports whether an entry came from another director and has had no packet
// here since the last message about it: only then that director knows better. Those that
// an earlier process took count as touched.
func (s *synchronization) untouched(c *conntrack.Conn) bool {
	all := s.copies.Load()
	return all != nil && c.Has(conntrack.Synced) && (*all)[s.fw.conns.Ref(c)].Load() == copyMark(c.Packets(), c.Seen())
}

func copyMark(packets uint32, seen conntrack.Tick) uint64 { return uint64(seen)<<32 | uint64(packets) }

package forwarder

import (
	"net/netip"

	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
)

// hopCacheSize is the number of addresses for which a worker remembers the next hop. It
// is a power of two; 4096 entries are enough for a few thousand clients, each miss
// costs a lookup in the routing table.
const hopCacheSize = 4096

// hopCache remembers next hops by address, direct-mapped. An entry is valid as long as
// the generation of the neighbour table has not changed. It belongs to one worker.
type hopCache struct {
	generation uint64
	entries    []hopEntry
}

type hopEntry struct {
	addr [16]byte
	hop  *neigh.Hop
}

// lookup returns the next hop for an address. The verdict is Continue if there is one,
// resolved or not.
func (h *hopCache) lookup(n Neighbours, addr *[16]byte) (*neigh.Hop, frame.Verdict) {
	if g := n.Generation(); g != h.generation || h.entries == nil {
		h.forget(g)
	}
	e := &h.entries[hopHash(addr)%hopCacheSize]
	if e.hop != nil && e.addr == *addr {
		return e.hop, frame.Continue
	}
	hop, v := n.Lookup(netip.AddrFrom16(*addr).Unmap())
	if v != frame.Continue {
		return nil, v
	}
	if hop.Resolved {
		e.addr, e.hop = *addr, hop
	}
	return hop, frame.Continue
}

func (h *hopCache) forget(generation uint64) {
	if h.entries == nil {
		h.entries = make([]hopEntry, hopCacheSize)
	}
	clear(h.entries)
	h.generation = generation
}

func hopHash(a *[16]byte) uint32 {
	h := uint32(a[15]) | uint32(a[14])<<8 | uint32(a[13])<<16 | uint32(a[12])<<24
	h ^= uint32(a[7]) | uint32(a[6])<<8 | uint32(a[5])<<16 | uint32(a[4])<<24
	return (h * 0x9e3779b1) >> 20
}

package forwarder

import (
	"encoding/binary"

	"uvs/conntrack"
	"uvs/forwarder/frame"
)

// AF_PACKET sees frames before the host's input path does. What the host would not
// accept is not forwarded either: packets from its own or invalid addresses, packets
// that fail the reverse path check, packets with a source route or invalid IP options.

// admit judges a packet as the host's input path does, fragments one by one: the
// addresses, then the IP options (ip_input.c, ip_rcv_finish_core). What the host
// sent, or a host behind a HostLink, has passed that host's own checks.
func (w *worker) admit(f *frame.Frame, found conntrack.Found) frame.Verdict {
	if w.link.Loopback || w.link.Name == w.fw.conf.HostLink {
		return frame.Continue
	}
	if v := w.admitted.admits(w.fw.neigh, f, w.link.Index); v != frame.Continue {
		return v
	}
	if f.Is4() && f.IPHeaderLen() > plainHeader {
		return w.options(f, found)
	}
	if f.Is6() && f.L3()[6] == frame.ProtoHopByHop {
		return w.hopOptions(f, found)
	}
	return frame.Continue
}

// plainHeader is the length of an IPv4 header without options in bytes.
const plainHeader = 20

// admitCacheSize is the number of address pairs whose judgement a worker remembers. It is
// a power of two.
const admitCacheSize = 4096

// admitCache remembers the results of Neighbours.Admits, direct-mapped. An entry is valid
// as long as the generation has not changed. It belongs to one worker; the zero value
// is empty.
type admitCache struct {
	generation uint64
	entries    []admitEntry
}

type admitEntry struct {
	ends    [32]byte // addresses as a Flow has them
	by      int32    // link and IP version, 0 if the entry is empty
	verdict frame.Verdict
}

func (o *admitCache) admits(n Neighbours, f *frame.Frame, link int) frame.Verdict {
	if g := n.Generation(); g != o.generation || o.entries == nil {
		o.forget(g)
	}
	ends := (*[32]byte)(f.Flow[:])
	by := int32(link << 1)
	if f.Is6() {
		by++
	}
	e := &o.entries[addrsHash(ends)%admitCacheSize]
	if e.by != by || e.ends != *ends {
		e.by, e.ends, e.verdict = by, *ends, n.Admits(f, link)
	}
	return e.verdict
}

func (o *admitCache) forget(generation uint64) {
	if o.entries == nil {
		o.entries = make([]admitEntry, admitCacheSize)
	}
	clear(o.entries)
	o.generation = generation
}

func addrsHash(b *[32]byte) uint64 {
	h := binary.LittleEndian.Uint64(b[8:]) ^ binary.LittleEndian.Uint64(b[24:])*31 ^ binary.LittleEndian.Uint64(b[:])*17
	return h * 0x9e3779b97f4a7c15 >> 52
}

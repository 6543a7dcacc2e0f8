package forwarder

import (
	"sync/atomic"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/sysctl"
)

// defensePeriod is how often it is decided whether to drop on purpose
// (ip_vs_ctl.c, DEFENSE_TIMER_PERIOD).
const defensePeriod = time.Second

// overload is what the director drops on purpose: one in rate of the packets
// that would open connections. The workers share it.
type overload struct {
	rate    atomic.Int32 // 0: none
	counter atomic.Int32
}

// drops reports whether the packet at hand is the one to drop (ip_vs.h,
// ip_vs_todrop).
func (o *overload) drops() bool {
	rate := o.rate.Load()
	if rate == 0 || o.counter.Add(-1) > 0 {
		return false
	}
	o.counter.Store(rate)
	return true
}

// set changes the rate. In mode 3 the count continues, so that the first packet is the
// one to drop; when memory is short it restarts (ip_vs_ctl.c, update_defense_level).
func (o *overload) set(rate int32, short bool) {
	if o.rate.Swap(rate) != rate && short {
		o.counter.Store(rate)
	}
}

// page is the unit of amemthresh in bytes.
const page = 4096

// freePages returns how much of the connection table is free. It is the memory
// that an attack uses up first here, so it stands for the kernel's free memory.
func (fw *Forwarder) freePages() int {
	return (fw.conns.Capacity() - fw.conns.Len()) * conntrack.ConnSize / page
}

// defend decides about drop_entry, drop_packet and secure_tcp as the kernel
// does (ip_vs_ctl.c, update_defense_level): 3 is always, 1 and 2 are when
// memory is short, and show which it is.
func (fw *Forwarder) defend() {
	fw.mu.Lock()
	next := *fw.sysctl.Load()
	short := int(next.AMemThresh) - fw.freePages()
	for _, mode := range []*int32{&next.DropEntry, &next.DropPacket, &next.SecureTCP} {
		*mode = defenseMode(*mode, short > 0)
	}
	fw.overload.set(dropRate(&next, short), next.DropPacket == 2)
	if next != *fw.sysctl.Load() {
		fw.sysctl.Store(&next)
		fw.setRules(&next)
	}
	fw.mu.Unlock()
}

// defenseMode returns the value of a setting that was mode.
func defenseMode(mode int32, short bool) int32 {
	if mode != 1 && mode != 2 {
		return mode
	}
	if short {
		return 2
	}
	return 1
}

// dropRate returns one in how many packets to drop when short pages are missing.
func dropRate(s *sysctl.Values, short int) int32 {
	switch s.DropPacket {
	case 2:
		return s.AMemThresh / int32(short)
	case 3:
		return s.AMDropRate
	}
	return 0
}

// dropEntries removes connections that look like those of an attack, if drop_entry is
// active.
func (fw *Forwarder) dropEntries(d *conntrack.Dropper, r *conntrack.Reader) {
	if fw.sysctl.Load().DropEntry >= 2 {
		d.Drop(r, fw.now())
	}
}

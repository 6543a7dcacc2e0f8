package afpacket

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Stats counts frames since the port was opened.
type Stats struct {
	Received  uint64 // handed out by Recv
	RingDrops uint64 // lost by the kernel because the ring was full, or a super-frame of a kind that has no facts (inside a tunnel)
	Oversize  uint64 // larger than a ring slot, received whole through a side buffer
	Cut       uint64 // received incomplete, Frame.Cut is true
	Skipped   uint64 // left out because several processes in a row ended at them

	Sent     uint64 // accepted by the kernel
	Refused  uint64 // not accepted, for any reason; the next three say which
	TooBig   uint64 // larger than the interface's MTU and not a super-frame (EMSGSIZE)
	NoBuffer uint64 // device or socket queue full (ENOBUFS, EAGAIN)
	LinkDown uint64 // interface down or removed (ENETDOWN, ENXIO)
}

type rxCounters struct {
	received, oversize, cut, skipped atomic.Uint64
}

type txCounters struct {
	sent, refused, tooBig, noBuffer, linkDown atomic.Uint64
}

// Stats returns the counters. It may be called while the port is in use and
// after it is closed.
func (p *Port) Stats() Stats {
	t := &p.tx.counters
	s := Stats{
		Sent: t.sent.Load(), Refused: t.refused.Load(),
		TooBig: t.tooBig.Load(), NoBuffer: t.noBuffer.Load(), LinkDown: t.linkDown.Load(),
	}
	if p.rx != nil {
		r := p.rx.counters
		s.Received, s.Oversize, s.Cut, s.Skipped = r.received.Load(), r.oversize.Load(), r.cut.Load(), r.skipped.Load()
		s.RingDrops = p.kernelDrops()
	}
	return s
}

// kernelDrops adds up the kernel's drop counter, which each reading resets. It
// counts only frames that had passed the filter.
func (p *Port) kernelDrops() uint64 {
	p.statsMu.Lock()
	defer p.statsMu.Unlock()
	_ = p.control(func(fd int) error {
		s, err := unix.GetsockoptTpacketStats(fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			p.drops += uint64(s.Drops)
		}
		return err
	})
	return p.drops
}

// Counters returns the counters by the names that `uvs stats` shows.
func (p *Port) Counters() map[string]uint64 {
	s := p.Stats()
	return map[string]uint64{
		"received": s.Received, "ring-drops": s.RingDrops, "oversize": s.Oversize, "cut": s.Cut, "skipped": s.Skipped,
		"sent": s.Sent, "refused": s.Refused, "refused-too-big": s.TooBig,
		"refused-no-buffer": s.NoBuffer, "refused-link-down": s.LinkDown,
	}
}

package conntrack

import (
	"math/bits"
	"slices"
)

// fewPorts is how many ports of a pool are in use before it needs bits: services on all
// ports have a pool for each port of each server, most with one or two in use.
const fewPorts = 16

// portPool is a set of ports in use.
type portPool struct {
	all   *Ports
	next  uint16 // where to look first: after the port allocated last
	idle  bool   // it has no port in use and is kept for its notes
	own   bool   // some of the ports in use were given out here, or as good as that
	taken int
	few   [fewPorts]uint16 // the ports in use, while many is nil
	many  *portBits

	first, last Ref // connections that are over, the oldest first
	over        int
	timeWaits   map[uint16]TimeWait // of free ports
}

// keepTimeWait stores what the server may remember of a port.
func (p *portPool) keepTimeWait(port uint16, past TimeWait) {
	if p.timeWaits == nil {
		p.timeWaits = map[uint16]TimeWait{}
	}
	p.timeWaits[port] = past
}

func (p *portPool) used(port uint16) bool {
	if p.many != nil {
		return p.many.has(port)
	}
	return slices.Contains(p.few[:p.taken], port)
}

func (p *portPool) mark(port uint16) {
	p.all.wake(p)
	p.own = p.own && p.taken > 0
	if p.many == nil && p.taken == fewPorts {
		bits := p.all.outside
		for _, used := range p.few {
			bits.mark(used)
		}
		p.many = &bits
	}
	if p.many == nil {
		p.few[p.taken] = port
	} else {
		p.many.mark(port)
	}
	p.taken++
}

// unmark frees a port that is in use.
func (p *portPool) unmark(port uint16) {
	p.taken--
	if p.many != nil {
		p.many.unmark(port)
		return
	}
	p.few[slices.Index(p.few[:p.taken+1], port)] = p.few[p.taken]
}

// allocate marks and returns the next free port, wrapping around. There must be
// one.
func (p *portPool) allocate() uint16 {
	port := p.next
	if p.many != nil {
		port = p.many.free(port)
	} else {
		for port < p.all.low || port > p.all.high || p.used(port) {
			if port++; port < p.all.low || port > p.all.high {
				port = p.all.low
			}
		}
	}
	p.mark(port)
	p.next = port + 1
	return port
}

// resume makes the next port the one after the last that was allocated, as far as
// can be told from those in use: ports are allocated in turn, so the longest run
// without any begins there.
func (p *portPool) resume() {
	if p.many != nil {
		p.next = p.many.longestRun()
		return
	}
	in := slices.Sorted(slices.Values(p.few[:p.taken]))
	longest := 0
	for i, port := range in {
		run := p.all.Size()
		if i+1 < len(in) {
			run = int(in[i+1] - port)
		} else {
			run -= int(port - in[0])
		}
		if run > longest {
			longest, p.next = run, port+1
		}
	}
}

// portBits is a set of ports: one bit each, and one bit for each word of them that is
// full, so that a free port is found in some 17 steps at most however few are left.
type portBits struct {
	word [1024]uint64 // bit set: in use, or outside the range
	full [16]uint64   // bit set: the word has no free port
}

func (b *portBits) has(port uint16) bool { return b.word[port>>6]&(1<<(port&63)) != 0 }

func (b *portBits) mark(port uint16) {
	w := port >> 6
	b.word[w] |= 1 << (port & 63)
	if b.word[w] == ^uint64(0) {
		b.full[w>>6] |= 1 << (w & 63)
	}
}

func (b *portBits) unmark(port uint16) {
	w := port >> 6
	b.word[w] &^= 1 << (port & 63)
	b.full[w>>6] &^= 1 << (w & 63)
}

// free returns the first port that is not in the set from a port on, wrapping around.
func (b *portBits) free(from uint16) uint16 {
	w := from >> 6
	if free := ^b.word[w] &^ (1<<(from&63) - 1); free != 0 {
		return w<<6 | uint16(bits.TrailingZeros64(free))
	}
	w = b.nextFree(w + 1)
	return w<<6 | uint16(bits.TrailingZeros64(^b.word[w]))
}

// nextFree returns the first word with a free port from w on, wrapping around.
func (b *portBits) nextFree(w uint16) uint16 {
	w &= uint16(len(b.word) - 1)
	group := w >> 6
	open := ^b.full[group] &^ (1<<(w&63) - 1)
	for open == 0 {
		group = (group + 1) & uint16(len(b.full)-1)
		open = ^b.full[group]
	}
	return group<<6 | uint16(bits.TrailingZeros64(open))
}

// longestRun returns where the longest run of words without a port in them begins.
func (b *portBits) longestRun() (at uint16) {
	best, run := 0, 0
	for i := range 2 * len(b.word) {
		if b.word[i%len(b.word)] != 0 {
			run = 0
			continue
		}
		if run++; run > best && run < len(b.word) {
			best = run
			at = uint16((i - run + 1) % len(b.word) << 6)
		}
	}
	return at
}

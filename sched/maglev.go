package sched

import "math/bits"

// Keys of mh's two hashes (ip_vs_mh.c): fixed, so that every director builds the
// same table for the same servers.
const (
	mhKey1 = 2654435761
	mhKey2 = 2654446892
)

// maglev is a lookup table as in Eisenbud et al., "Maglev: A Fast and Reliable
// Software Network Load Balancer" (NSDI 2016), section 3.4, with the weights
// IPVS adds.
type maglev []*RealServer

// kernelSlots is the table's size with CONFIG_IP_VS_MH_TAB_INDEX 12, as
// distributions build the kernel.
const kernelSlots = 4093

// maglevSize returns the number of slots for n servers, always prime. Up to 4093
// servers it is the kernel's. The kernel refuses more; for them it is the smallest of
// the kernel's other sizes that has eight slots for each server, or the largest.
func maglevSize(n int) uint32 {
	if n <= kernelSlots {
		return kernelSlots
	}
	if 8*n <= 65521 {
		return 65521
	}
	return 131071
}

// turns says how many slots a server takes in a round (turns in ip_vs_mh.c): its
// weight in units of the greatest common divisor, shifted down so that the heaviest
// takes fewer than 2^indexBits, and at least one unless the weight is 0.
type turns struct {
	unit  int32
	shift int
}

func turnsFor(servers []*RealServer, size uint32) turns {
	var top, unit int32
	for _, s := range servers {
		w := max(0, s.LastWeight())
		top, unit = max(top, w), gcd(unit, w)
	}
	if unit == 0 {
		return turns{}
	}
	// Half the configured index: 12 for 4093 slots, up to 17 for 131071.
	indexBits := bits.Len32(size) / 2
	return turns{unit, max(0, bits.Len32(uint32(top/unit))-indexBits)}
}

func (t turns) of(weight int32) int32 {
	if weight <= 0 {
		return 0
	}
	return max(1, weight/t.unit>>t.shift)
}

// preference is a server's order of preference among the slots: it begins at one
// and goes on in equal skips, which visit all slots because the size is prime.
type preference struct {
	server            *RealServer
	slot, skip, turns uint32
}

// newMaglev fills a table with servers, given in IPVS's order: in each round every
// server takes the free slots it prefers, as many as its turns. The last weight
// above 0 counts: a server set to weight 0 keeps its slots, and the others keep
// theirs.
func newMaglev(servers []*RealServer) maglev {
	size := maglevSize(len(servers))
	prefs := preferences(servers, size)
	if len(prefs) == 0 {
		return nil
	}
	t := make(maglev, size)
	for taken := uint32(0); ; {
		for i := range prefs {
			p := &prefs[i]
			for range p.turns {
				for t[p.slot] != nil {
					p.next(size)
				}
				t[p.slot] = p.server
				if taken++; taken == size {
					return t
				}
			}
		}
	}
}

func preferences(servers []*RealServer, size uint32) []preference {
	t := turnsFor(servers, size)
	prefs := make([]preference, 0, len(servers))
	for _, s := range servers {
		n := t.of(s.LastWeight())
		if n == 0 {
			continue
		}
		key := fold(s.Addr.Addr().As16()) + uint32(s.Addr.Port())
		prefs = append(prefs, preference{
			server: s,
			slot:   hsiphash(key, mhKey1) % size,
			skip:   hsiphash(key, mhKey2)%(size-1) + 1,
			turns:  uint32(n),
		})
	}
	return prefs
}

func (p *preference) next(size uint32) {
	if p.slot += p.skip; p.slot >= size {
		p.slot -= size
	}
}

package filter

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// span is a range of numbers, both ends included.
type span struct{ first, last uint32 }

// everything is any protocol and port.
var everything = span{0, math.MaxUint32}

// ends returns the spans of protocol<<16|port that a tuple covers.
func (t Tuple) ends() span {
	first := uint32(t.Proto)<<16 | uint32(t.Port)
	switch {
	case t.Proto == 0:
		return everything
	case t.Port == 0:
		return span{first, first | math.MaxUint16}
	}
	return span{first, first}
}

// item is an address and what is admitted for it.
type item struct {
	addr netip.Addr
	ends span
}

// row is a prefix and what is admitted for its addresses.
type row struct {
	prefix netip.Prefix
	ends   []span
}

// rows groups sorted items by prefixes of so many bits. Without ports all
// protocols and ports are admitted.
func rows(all []item, bits int, ports bool) []row {
	var out []row
	for _, it := range all {
		if !ports {
			it.ends = everything
		}
		if n := len(out); n > 0 && out[n-1].prefix.Contains(it.addr) {
			out[n-1].ends = append(out[n-1].ends, it.ends)
			continue
		}
		p, _ := it.addr.Prefix(bits)
		out = append(out, row{p, []span{it.ends}})
	}
	return out
}

// merge sorts spans and joins those that touch.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	out := spans[:1]
	for _, s := range spans[1:] {
		last := &out[len(out)-1]
		if last.last == math.MaxUint32 || s.first <= last.last+1 {
			last.last = max(last.last, s.last)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// entry is a prefix as the program sees it: as words of 32 bits.
type entry struct {
	words []span
	match label
}

// searchRows prepends the search of rows: words of the address, at offset, lead to the
// check of protocol and port, which are in scratch memory, and that leads to accept.
// Everything else leads to miss.
func (a *asm) searchRows(t []row, offset uint32, scratch int, miss label) label {
	if len(t) == 0 {
		return miss
	}
	checks := map[string]label{}
	entries := make([]entry, 0, len(t))
	for _, r := range t {
		entries = append(entries, entry{words(r.prefix), a.check(merge(r.ends), scratch, miss, checks)})
	}
	return a.searchWords(entries, offset, miss)
}

// words splits a prefix into ranges of its 32-bit words; words without any fixed bits
// are omitted.
func words(p netip.Prefix) []span {
	all := []span{}
	b := p.Addr().AsSlice()
	for bits := p.Bits(); bits > 0; bits -= 32 {
		first := binary.BigEndian.Uint32(b)
		all = append(all, span{first, first | uint32(math.MaxUint32>>min(bits, 32))})
		b = b[4:]
	}
	return all
}

// check prepends the search for protocol and port, unless there is the same one
// already, and returns where it begins.
func (a *asm) check(spans []span, scratch int, miss label, known map[string]label) label {
	if spans[0] == everything {
		return accept
	}
	var key []byte
	for _, s := range spans {
		key = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(key, s.first), s.last)
	}
	if l, ok := known[string(key)]; ok {
		return l
	}
	steps := fill(spans, func(int) label { return accept }, miss)
	l := a.block(a.search(steps), bpf.LoadScratch{Dst: bpf.RegA, N: scratch})
	known[string(key)] = l
	return l
}

// fill turns sorted spans into steps that lead to to(i) for span i, and to miss
// between them.
func fill(spans []span, to func(i int) label, miss label) []step {
	steps := []step{{0, miss}}
	put := func(s step) {
		last := &steps[len(steps)-1]
		switch {
		case last.to == s.to:
		case last.from == s.from:
			*last = s
		default:
			steps = append(steps, s)
		}
	}
	for i, s := range spans {
		put(step{s.first, to(i)})
		if s.last < math.MaxUint32 {
			put(step{s.last + 1, miss})
		}
	}
	return steps
}

// searchWords prepends the search for sorted entries, word by word.
func (a *asm) searchWords(entries []entry, offset uint32, miss label) label {
	var spans []span
	var targets []label
	for len(entries) > 0 {
		word := entries[0].words[0]
		n := 1
		for n < len(entries) && entries[n].words[0] == word {
			n++
		}
		spans = append(spans, word)
		targets = append(targets, a.searchRest(entries[:n], offset+4, miss))
		entries = entries[n:]
	}
	steps := fill(spans, func(i int) label { return targets[i] }, miss)
	return a.block(a.search(steps), bpf.LoadAbsolute{Off: offset, Size: 4})
}

// searchRest searches entries that share their first word by the remaining words.
func (a *asm) searchRest(entries []entry, offset uint32, miss label) label {
	if len(entries[0].words) == 1 {
		return entries[0].match
	}
	for i := range entries {
		entries[i].words = entries[i].words[1:]
	}
	return a.searchWords(entries, offset, miss)
}

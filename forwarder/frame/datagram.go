package frame

import "encoding/binary"

// Len returns the number of datagrams that are not yet whole.
func (r *Reassembler) Len() int { return len(r.byKey) }

// Waiting returns the number of fragments of datagrams that are not yet whole.
func (r *Reassembler) Waiting() uint64 { return r.waiting }

// Clear drops all datagrams.
func (r *Reassembler) Clear() {
	for r.oldest != none {
		r.Expired += r.datagrams[r.oldest].frags
		r.drop(r.oldest)
	}
}

// assemble builds the frame of a complete datagram.
func (r *Reassembler) assemble(d *datagram) Verdict {
	const l3 = Headroom + EthernetLen
	end := l3 + d.header + d.total
	longest := 65535
	if d.key.is6 {
		longest += 40
	}
	if d.header+d.total > longest || d.ecn&1 != 0 && d.ecn&8 != 0 {
		return DropFragmentBad // RFC 3168 section 5.3: "congestion experienced" beside not capable
	}
	copy(r.buf[Headroom:], d.headers[:EthernetLen+d.header])
	r.copyData(d, r.buf[l3+d.header:end])
	if d.key.is6 {
		fixHeader6(r.buf[l3:end], d)
	} else {
		fixHeader4(r.buf[l3:end], d)
	}
	r.out.Reset(r.buf, Headroom, end, end-Headroom)
	r.out.Ingress = d.ingress
	r.pieces.Max, r.pieces.ID = d.max, d.key.id
	r.out.Pieces = &r.pieces
	return Continue
}

// copyData copies the data of a datagram to b and stores the lengths of its
// fragments.
func (r *Reassembler) copyData(d *datagram, b []byte) {
	r.pieces.cuts = r.pieces.cuts[:0]
	for at := d.first; at != none; at = r.cell(at).next {
		c := r.cell(at)
		copy(b[c.off:], c.data[:c.len])
		if c.first {
			r.pieces.cuts = append(r.pieces.cuts, 0)
		}
		r.pieces.cuts[len(r.pieces.cuts)-1] += c.len
	}
}

// fixHeader4 corrects the IPv4 header. The datagram gets DF if its largest fragment
// had it: a path that carried that one carries them all (Linux ip_fragment.c,
// ip_frag_reasm).
func fixHeader4(ip []byte, d *datagram) {
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[6], ip[7] = 0, 0
	if d.maxDF == d.max {
		ip[6] = 0x40
	}
	if d.ecn&8 != 0 {
		ip[1] |= 3
	}
	SumHeader4(ip)
}

// fixHeader6 corrects the IPv6 header and removes the fragment header.
func fixHeader6(ip []byte, d *datagram) {
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
	ip[d.nextHeaderAt] = d.nextHeader
	if d.ecn&8 != 0 {
		ip[1] |= 3 << 4
	}
}

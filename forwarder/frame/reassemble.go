package frame

import (
	"encoding/binary"
	"time"
)

// FragmentTimeout is how long all fragments of a datagram may take to arrive (Linux's
// net.ipv4.ipfrag_time; RFC 791 leaves it open, RFC 8200 says 60 s).
const FragmentTimeout = 30 * time.Second

// FragmentMemory is a good limit for NewReassembler, Linux's
// net.ipv4.ipfrag_high_thresh.
const FragmentMemory = 4 << 20

const (
	cellLen    = 2048 // bytes of data in a cell: one fragment on most links
	slabCells  = 64   // cells allocated at once
	maxCells   = 1366 // per datagram: 64 KiB in fragments for IPv4's minimum MTU, 68 bytes
	maxHeaders = 256  // bytes of headers before an IPv6 fragment header
	none       = -1
)

// Reassembler reassembles IPv4 and IPv6 datagrams from their fragments (RFC 791 section
// 3.2, RFC 8200 section 4.5). Fragments may arrive in any order and more than once. A
// fragment that overlaps others in any other way, contradicts them or exceeds 65535
// bytes ends its datagram (RFC 5722).
//
// Memory is bounded: when it runs out, the oldest datagram is dropped, because a
// genuine one is complete within milliseconds. Once it has grown to its size a
// Reassembler allocates nothing. It belongs to one goroutine.
type Reassembler struct {
	// Expired counts the fragments of datagrams that took too long, Evicted those of
	// datagrams dropped to free memory.
	Expired, Evicted uint64
	// Ended is how many earlier fragments the last Add decided as well: they share the
	// verdict on their datagram.
	Ended uint64

	waiting   uint64 // fragments
	limit     int    // cells
	cells     []*[slabCells]cell
	free      int32 // first free cell
	byKey     map[datagramKey]int32
	datagrams []datagram
	spare     int32 // first free datagram
	oldest    int32 // in order of their first fragment
	newest    int32
	out       Frame
	buf       []byte
	pieces    Pieces
}

// datagramKey is what the fragments of a datagram have in common.
type datagramKey struct {
	src, dst [16]byte
	id       uint32
	proto    uint8 // 0 for IPv6: fragments need not agree on it
	is6      bool
}

// cell holds some data of a fragment. Cells of a datagram form a list by offset.
type cell struct {
	next  int32
	off   uint16
	len   uint16
	first bool // begins a fragment
	data  [cellLen]byte
}

// datagram is a datagram that is not complete yet.
type datagram struct {
	key                  datagramKey
	since                time.Duration
	first, last          int32 // cells by offset
	prev, next           int32 // datagrams by age; next also links the spare ones
	cells                int
	frags                uint64
	have, total          int // data bytes; total is 0 until the last fragment has arrived
	end                  int // end of what came
	max, maxDF           int // IP length of the largest fragment, and of the largest with DF
	ecn                  uint8
	nextHeaderAt, header int // of the first fragment: where the next header is named, length before the data
	nextHeader           uint8
	ingress              int
	headers              [EthernetLen + maxHeaders]byte
}

// NewReassembler returns a Reassembler that holds at most limit bytes of data.
func NewReassembler(limit int) *Reassembler {
	return &Reassembler{
		limit:  max(limit/cellLen, maxCells),
		free:   none,
		byKey:  make(map[datagramKey]int32),
		spare:  none,
		oldest: none,
		newest: none,
		buf:    make([]byte, Headroom+EthernetLen+maxHeaders+65536),
	}
}

// Add adds a frame for which Parse set Info.Fragment. now is the time since any fixed
// moment. If the frame completes its datagram, Add returns the datagram with Continue:
// a frame to be parsed, valid until the next Add. Otherwise it returns Queued, or the
// reason why the fragment was dropped.
func (r *Reassembler) Add(f *Frame, now time.Duration) (*Frame, Verdict) {
	var p fragment
	r.Ended = 0
	if v := p.read(f); v != Continue {
		return nil, v
	}
	i, ok := r.byKey[p.key]
	if !ok {
		i = r.newDatagram(&p, now)
	}
	d := &r.datagrams[i]
	before := d.frags
	v := r.insert(i, &p)
	if v == Queued && d.total != 0 && d.have == d.total {
		v = r.assemble(&r.datagrams[i])
		r.drop(i)
	}
	if v != Queued && v != DropFragmentDup {
		r.Ended = before
	}
	if v == Continue {
		return &r.out, v
	}
	return nil, v
}

// Expire drops the datagrams that are older than FragmentTimeout.
func (r *Reassembler) Expire(now time.Duration) {
	for r.oldest != none && now-r.datagrams[r.oldest].since >= FragmentTimeout {
		r.Expired += r.datagrams[r.oldest].frags
		r.drop(r.oldest)
	}
}

// newDatagram adds a datagram without fragments.
func (r *Reassembler) newDatagram(p *fragment, now time.Duration) int32 {
	i := r.spare
	if i == none {
		i = int32(len(r.datagrams))
		r.datagrams = append(r.datagrams, datagram{})
	} else {
		r.spare = r.datagrams[i].next
	}
	d := &r.datagrams[i]
	d.key, d.since = p.key, now
	d.first, d.last, d.prev, d.next = none, none, r.newest, none
	d.cells, d.frags, d.have, d.total, d.end, d.max, d.maxDF, d.ecn = 0, 0, 0, 0, 0, 0, 0, 0
	d.header = 0
	if r.newest != none {
		r.datagrams[r.newest].next = i
	} else {
		r.oldest = i
	}
	r.newest = i
	r.byKey[p.key] = i
	return i
}

// drop removes a datagram and frees its cells.
func (r *Reassembler) drop(i int32) {
	d := &r.datagrams[i]
	delete(r.byKey, d.key)
	r.waiting -= d.frags
	if d.last != none {
		r.cell(d.last).next = r.free
		r.free = d.first
		r.limit += d.cells
	}
	if d.prev != none {
		r.datagrams[d.prev].next = d.next
	} else {
		r.oldest = d.next
	}
	if d.next != none {
		r.datagrams[d.next].prev = d.prev
	} else {
		r.newest = d.prev
	}
	d.next = r.spare
	r.spare = i
}

func (r *Reassembler) cell(i int32) *cell { return &r.cells[i/slabCells][i%slabCells] }

// allocCell returns a free cell. If the limit is reached it drops the oldest datagram
// other than keep, and returns none if there is no other.
func (r *Reassembler) allocCell(keep int32) int32 {
	for r.limit == 0 {
		victim := r.oldest
		if victim == keep {
			victim = r.datagrams[keep].next
		}
		if victim == none {
			return none
		}
		r.Evicted += r.datagrams[victim].frags
		r.drop(victim)
	}
	if r.free == none {
		r.grow()
	}
	i := r.free
	r.free = r.cell(i).next
	r.limit--
	return i
}

func (r *Reassembler) grow() {
	base := int32(len(r.cells) * slabCells)
	slab := new([slabCells]cell)
	for i := range slab {
		slab[i].next = base + int32(i) + 1
	}
	slab[slabCells-1].next = r.free
	r.cells = append(r.cells, slab)
	r.free = base
}

// fragment is one fragment as it arrived.
type fragment struct {
	f            *Frame
	key          datagramKey
	data         []byte
	off          int
	more         bool
	df           bool
	tos          uint8
	ipLen        int
	nextHeaderAt int // where the header before it names what follows
	header       int // length of the headers before the data or the fragment header
}

// read checks a fragment by itself.
func (p *fragment) read(f *Frame) Verdict {
	*p = fragment{f: f, off: int(f.Info.FragOff), more: f.Info.MoreFrags, df: f.Info.DF, ipLen: f.L3Len(), header: f.IPHeaderLen()}
	p.key.src, p.key.dst = f.Flow.Src16(), f.Flow.Dst16()
	ip := f.L3()
	if f.Is4() {
		p.key.id, p.key.proto = uint32(binary.BigEndian.Uint16(ip[4:])), f.Info.Proto
		p.data, p.tos, p.nextHeaderAt = f.L4(), ip[1], 9
	} else {
		h := f.L4()
		p.key.id, p.key.is6 = binary.BigEndian.Uint32(h[4:]), true
		p.data, p.tos, p.nextHeaderAt = h[8:], ip[0]<<4|ip[1]>>4, nextHeaderField(ip, p.header)
	}
	n := len(p.data)
	if n == 0 || p.more && n%8 != 0 || p.off+n+p.header > p.longest() || p.header > maxHeaders || p.nextHeaderAt < 0 {
		return DropFragmentBad
	}
	return Continue
}

// longest returns how long an IP packet can be in bytes: IPv6's length field does not
// count the header.
func (p *fragment) longest() int {
	if p.key.is6 {
		return 40 + 65535
	}
	return 65535
}

// nextHeaderField returns the offset in an IPv6 packet of the next-header field that
// names the header at offset at, none if there is no such header.
func nextHeaderField(ip []byte, at int) int {
	name, next := 6, 40
	for next < at {
		name, next = next, next+int(ip[next+1])*8+8
	}
	if next != at {
		return none
	}
	return name
}

// insert adds a fragment to its datagram.
func (r *Reassembler) insert(i int32, p *fragment) Verdict {
	d := &r.datagrams[i]
	end := p.off + len(p.data)
	fits := p.more && (d.total == 0 || end <= d.total) || !p.more && end >= d.end && (d.total == 0 || end == d.total)
	if !fits {
		r.drop(i)
		return DropFragmentBad
	}
	before, v := r.position(d, p.off, end)
	if v == DropFragmentBad {
		r.drop(i)
	}
	if v != Queued {
		return v
	}
	if !r.store(i, p, before) {
		r.drop(i)
		return DropFragmentMemory
	}
	d.add(p, end)
	r.waiting++
	return Queued
}

// add updates a datagram for a stored fragment.
func (d *datagram) add(p *fragment, end int) {
	d.frags++
	d.have += len(p.data)
	d.end = max(d.end, end)
	if !p.more {
		d.total = end
	}
	d.max = max(d.max, p.ipLen)
	if p.df {
		d.maxDF = max(d.maxDF, p.ipLen)
	}
	d.ecn |= 1 << (p.tos & 3)
	if p.off == 0 {
		d.nextHeaderAt, d.header = p.nextHeaderAt, p.header
		d.nextHeader, d.ingress = p.f.Info.Proto, p.f.Ingress
		copy(d.headers[:], p.f.Bytes()[:EthernetLen+p.header])
	}
}

// position finds the cell after which the range off..end belongs, none for the
// beginning. A range that has arrived already is a duplicate.
func (r *Reassembler) position(d *datagram, off, end int) (before int32, v Verdict) {
	if d.last == none {
		return none, Queued
	}
	if c := r.cell(d.last); off >= int(c.off)+int(c.len) {
		return d.last, Queued
	}
	before = none
	for at := d.first; at != none; {
		c := r.cell(at)
		if end <= int(c.off) {
			return before, Queued
		}
		run, last := r.run(at)
		if off < run {
			if off >= int(c.off) && end <= run {
				return none, DropFragmentDup
			}
			return none, DropFragmentBad
		}
		before, at = last, r.cell(last).next
	}
	return before, Queued
}

// run returns the end of the contiguous data that begins with the cell at, and its last
// cell.
func (r *Reassembler) run(at int32) (end int, last int32) {
	for {
		c := r.cell(at)
		end = int(c.off) + int(c.len)
		if c.next == none || int(r.cell(c.next).off) != end {
			return end, at
		}
		at = c.next
	}
}

// store copies a fragment's data into cells after the cell before.
func (r *Reassembler) store(i int32, p *fragment, before int32) bool {
	need := (len(p.data) + cellLen - 1) / cellLen
	if r.datagrams[i].cells+need > maxCells {
		return false
	}
	off, data, first := p.off, p.data, true
	for len(data) > 0 {
		at := r.allocCell(i)
		if at == none {
			return false
		}
		c := r.cell(at)
		n := copy(c.data[:], data)
		c.off, c.len, c.first = uint16(off), uint16(n), first
		r.link(&r.datagrams[i], before, at)
		before, off, data, first = at, off+n, data[n:], false
	}
	return true
}

func (r *Reassembler) link(d *datagram, before, at int32) {
	c := r.cell(at)
	if before == none {
		c.next, d.first = d.first, at
	} else {
		c.next = r.cell(before).next
		r.cell(before).next = at
	}
	if c.next == none {
		d.last = at
	}
	d.cells++
}

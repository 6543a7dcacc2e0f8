package afpacket

import (
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// blockRing is a TPACKET_V3 receive ring: blocks that the kernel fills with
// frames of any length, one behind the other, and hands over when they are full
// or retireMillis old.
type blockRing struct {
	memory    []byte
	blockSize int
	held      int    // first block that is lent out
	head      int    // block being read
	next      int    // offset in it of the next packet
	left      uint32 // packets in it that were not lent yet

	link  link
	count *rxCounters
}

const (
	// blockBytes holds a 64 KiB super-frame whole; many small blocks lose less
	// than few large ones, as the kernel has none to fill while we hold them.
	blockBytes = 128 << 10
	blockCount = 64
	// retireMillis is the age in milliseconds at which a block is handed over.
	retireMillis = 1
)

func (r *blockRing) fill(_ int, fs []frame.Frame) int {
	for r.held != r.head {
		storeBlockStatus(r.block(r.held), unix.TP_STATUS_KERNEL)
		r.held = r.after(r.held)
	}
	n := 0
	for n < len(fs) {
		if r.left == 0 && !r.open() {
			break
		}
		r.lend(&fs[n])
		n++
	}
	return n
}

// open begins the next block. The one before, if any, stays lent out until the
// next fill.
func (r *blockRing) open() bool {
	if r.next != 0 { // head was read to its end
		ahead := r.after(r.head)
		if ahead == r.held {
			return false // all blocks are ours
		}
		r.head, r.next = ahead, 0
	}
	b := r.block(r.head)
	if loadBlockStatus(b)&unix.TP_STATUS_USER == 0 {
		return false
	}
	h := blockHeader(b)
	r.next, r.left = int(h.Offset_to_first_pkt), h.Num_pkts
	return r.left > 0
}

func (r *blockRing) block(i int) []byte {
	o := i * r.blockSize
	return r.memory[o : o+r.blockSize : o+r.blockSize]
}

func (r *blockRing) after(i int) int {
	if i++; i*r.blockSize == len(r.memory) {
		return 0
	}
	return i
}

func (r *blockRing) lend(f *frame.Frame) {
	b := r.block(r.head)[r.next:]
	h := packetHeader(b)
	mac, length, wire := int(h.Mac)-unix.SizeofTpacket3Hdr, int(h.Snaplen), int(h.Len)
	f.Reset(b[unix.SizeofTpacket3Hdr:], mac, mac+length, wire)
	r.link.describe(f, h.Status, uint16(h.Hv1.Vlan_tci), packetAddress(b), int(h.Net)-int(h.Mac))
	if length < wire {
		r.count.cut.Add(1)
	}
	r.left--
	r.next += int(h.Next_offset)
}

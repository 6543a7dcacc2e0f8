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
	reader

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
	r.giveBack()
	n := 0
	for n < len(fs) {
		if r.left == 0 && !r.open() {
			break
		}
		r.lend(&fs[n])
		n++
	}
	if n > 0 {
		r.took()
	}
	return n
}

// blockPosition is where the position is in the first block: in its private area, which
// follows the block's header (tp_sizeof_priv). It holds the block being read, the offset in it,
// how many packets are left there, and the first of the blocks given back before it.
const (
	blockPosition = blockHeaderLen
	blockPrivate  = 16 // bytes
)

func (r *blockRing) place() uint64 {
	return uint64(r.held)<<48 | uint64(r.head)<<32 | uint64(r.next)<<12 | uint64(r.left)
}

// giveBack returns to the kernel the blocks of which all packets are done with.
func (r *blockRing) giveBack() {
	if r.place() == r.pos.load() {
		return
	}
	r.progressed()
	r.announce()
	r.release(r.held, r.head)
	r.held = r.head
}

// announce notes how far the ring is read, as that of a slotRing.
func (r *blockRing) announce() {
	if r.held != r.head {
		first := r.block(r.held)
		storeBlockStatus(first, loadBlockStatus(first)|givingBack)
	}
	r.pos.store(r.place())
}

// release gives the blocks from one to before another to the kernel, as that of a slotRing.
func (r *blockRing) release(from, to int) {
	for to != from {
		to = r.before(to)
		storeBlockStatus(r.block(to), unix.TP_STATUS_KERNEL)
	}
}

// resume goes on where an earlier reader was, as that of a slotRing.
func (r *blockRing) resume(int) (skipped int, err error) {
	at := r.pos.load()
	blocks := len(r.memory) / r.blockSize
	r.held, r.head, r.next, r.left = int(at>>48), int(at>>32&0xffff), int(at>>12&0xfffff), uint32(at&0xfff)
	if !r.pos.valid() || r.held >= blocks || r.head >= blocks || r.next >= r.blockSize {
		return 0, errNoPosition
	}
	if r.held != r.head && loadBlockStatus(r.block(r.held))&givingBack != 0 {
		r.release(r.held, r.head)
	}
	r.held, r.first = r.head, true
	r.pos.store(r.place())
	if r.tired() {
		var f frame.Frame
		for ; skipped < skipFrames && (r.left > 0 || r.open()); skipped++ {
			r.lend(&f)
		}
	}
	r.giveBack()
	return skipped, nil
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

func (r *blockRing) before(i int) int {
	if i == 0 {
		i = len(r.memory) / r.blockSize
	}
	return i - 1
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

package afpacket

import (
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// slotRing is a TPACKET_V2 receive ring: slots of one size, each owned by the kernel or
// by us, according to the status word at its start.
//
//	0         32        52                178-10   178        192
//	| status… | address | head-room       | virtio | Ethernet | IP …
//
// A frame that does not fit leaves its beginning in the slot, marked
// TP_STATUS_COPY, and waits whole in the socket's receive queue (packet(7),
// PACKET_COPY_THRESH); the queue has the order of the slots.
type slotRing struct {
	memory   []byte
	offsets  []uint32 // of each slot in memory
	slotSize int
	held     int // first slot that is lent out
	head     int // next slot the kernel fills

	reader
	doubt int // slots that may have lost their copies

	link  link
	side  oversizeBuffers
	count *rxCounters
}

// slotPosition is where the position is in the first slot: behind the address, before the
// head-room. It holds, in the upper half, the next slot to read, and the first of those that
// were given back before it (see giveBack).
const slotPosition = 64

func (r *slotRing) fill(fd int, fs []frame.Frame) int {
	r.giveBack()
	n := 0
	for n < len(fs) {
		slot := r.slot(r.head)
		status := loadStatus(slot)
		if status&unix.TP_STATUS_USER == 0 {
			break
		}
		if status&unix.TP_STATUS_COPY != 0 && !r.side.free() {
			break // the next Recv continues here
		}
		r.lend(fd, &fs[n], slot, status)
		r.head = r.after(r.head)
		n++
	}
	if n > 0 {
		r.took()
	}
	return n
}

// giveBack returns all lent slots to the kernel: they are done with.
func (r *slotRing) giveBack() {
	r.side.reset()
	if r.held == r.head {
		return
	}
	r.progressed()
	r.announce()
	r.release(r.held, r.head)
	r.held = r.head
}

// announce notes that the slots from held to head are done with, while all of them are still
// ours. The mark in the first says so until that one is given back, after all others.
func (r *slotRing) announce() {
	first := r.slot(r.held)
	storeStatus(first, loadStatus(first)|givingBack)
	r.pos.store(uint64(r.head)<<32 | uint64(r.held))
}

// release gives the slots from one to before another to the kernel, the last first: it fills
// them in order, so it has none of them until it has all.
func (r *slotRing) release(from, to int) {
	for to != from {
		to = r.before(to)
		storeStatus(r.slot(to), unix.TP_STATUS_KERNEL)
	}
}

// resume goes on where an earlier reader was. What that one had taken and was not done with
// comes once more. If it ended while it gave slots back, that is finished first.
func (r *slotRing) resume(fd int) (skipped int, err error) {
	at := r.pos.load()
	from, to := int(at&0xffffffff), int(at>>32)
	if !r.pos.valid() || from >= len(r.offsets) || to >= len(r.offsets) {
		return 0, errNoPosition
	}
	if from != to && loadStatus(r.slot(from))&givingBack != 0 {
		r.release(from, to)
	}
	r.held, r.head, r.doubt, r.first = to, to, doubtful, true
	if r.tired() {
		for ; skipped < skipFrames && r.filled(r.head); skipped++ {
			r.skip(fd)
		}
	}
	r.giveBack()
	return skipped, nil
}

// skip takes a slot, with its copy if there is one.
func (r *slotRing) skip(fd int) {
	slot := r.slot(r.head)
	if loadStatus(slot)&unix.TP_STATUS_COPY != 0 && r.hasCopy(fd, slot, int(slotHeader(slot).Mac)) {
		r.side.read(fd, r.link.vnet)
		r.side.reset()
	}
	r.head = r.after(r.head)
}

func (r *slotRing) filled(i int) bool { return loadStatus(r.slot(i))&unix.TP_STATUS_USER != 0 }

func (r *slotRing) slot(i int) []byte {
	o := int(r.offsets[i])
	return r.memory[o : o+r.slotSize : o+r.slotSize]
}

func (r *slotRing) after(i int) int {
	if i++; i == len(r.offsets) {
		return 0
	}
	return i
}

func (r *slotRing) before(i int) int {
	if i == 0 {
		i = len(r.offsets)
	}
	return i - 1
}

// hasCopy reports whether the queue has the copy of a slot next. It always has, unless an
// earlier reader ended after it had read the copy.
func (r *slotRing) hasCopy(fd int, slot []byte, mac int) bool {
	if r.doubt == 0 {
		return true
	}
	h := slotHeader(slot)
	return r.side.next(fd, r.link.vnet, slot[mac:mac+int(h.Snaplen)])
}

// lend sets f to the frame in the slot, or to the one in the receive queue that the
// slot stands for.
func (r *slotRing) lend(fd int, f *frame.Frame, slot []byte, status uint32) {
	h, from := slotHeader(slot), slotAddress(slot)
	mac, length, wire := int(h.Mac)-unix.SizeofTpacket2Hdr, int(h.Snaplen), int(h.Len)
	copied := status&unix.TP_STATUS_COPY != 0 && r.hasCopy(fd, slot, int(h.Mac))
	r.doubt = max(r.doubt-1, 0)
	slot = slot[unix.SizeofTpacket2Hdr:]
	if copied {
		if buf, got, ok := r.side.read(fd, r.link.vnet); ok {
			slot, mac, length = buf, frame.Headroom, min(got, wire)
			r.count.oversize.Add(1)
		}
	}
	f.Reset(slot, mac, mac+length, wire)
	r.link.describe(f, status, h.Vlan_tci, from, int(h.Net)-int(h.Mac))
	if length < wire {
		r.count.cut.Add(1)
	}
}

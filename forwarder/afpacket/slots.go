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

	link  link
	side  oversizeBuffers
	count *rxCounters
}

func (r *slotRing) fill(fd int, fs []frame.Frame) int {
	r.takeBack()
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
	return n
}

// takeBack returns all lent slots to the kernel.
func (r *slotRing) takeBack() {
	for r.held != r.head {
		storeStatus(r.slot(r.held), unix.TP_STATUS_KERNEL)
		r.held = r.after(r.held)
	}
	r.side.reset()
}

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

// lend sets f to the frame in the slot, or to the one in the receive queue that the
// slot stands for.
func (r *slotRing) lend(fd int, f *frame.Frame, slot []byte, status uint32) {
	h, from := slotHeader(slot), slotAddress(slot)
	mac, length, wire := int(h.Mac)-unix.SizeofTpacket2Hdr, int(h.Snaplen), int(h.Len)
	slot = slot[unix.SizeofTpacket2Hdr:]
	if status&unix.TP_STATUS_COPY != 0 {
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

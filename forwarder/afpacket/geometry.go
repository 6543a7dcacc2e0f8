package afpacket

import "uvs/forwarder/frame"

// geometry is the layout of the slots of a TPACKET_V2 ring in its blocks: a block is
// contiguous memory of a whole number of pages, and no slot crosses its end.
type geometry struct {
	slotSize, blockSize, perBlock, blocks int
}

// slotSize returns the size in bytes of a slot, in whole cache lines, for frames
// that carry up to mtu bytes and one tag inside. (A power of two, which puts all
// status words into the same few cache sets, was no slower when measured.)
func slotSize(mtu int) int {
	return (macOffset + frame.EthernetLen + 4 + mtu + 63) / 64 * 64
}

// planRing returns a ring of at least count slots.
func planRing(size, count int) geometry {
	g := geometry{slotSize: size, blockSize: 128 << 10}
	if size > g.blockSize/8 {
		g.blockSize = 1 << 20
	}
	g.perBlock = g.blockSize / size
	g.blocks = (count + g.perBlock - 1) / g.perBlock
	return g
}

func (g geometry) bytes() int { return g.blocks * g.blockSize }

// offsets returns where each slot begins.
func (g geometry) offsets() []uint32 {
	all := make([]uint32, 0, g.blocks*g.perBlock)
	for b := range g.blocks {
		for i := range g.perBlock {
			all = append(all, uint32(b*g.blockSize+i*g.slotSize))
		}
	}
	return all
}

package afpacket

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// loadStatus reads the status word at the start of a TPACKET_V2 slot. The rest
// of the slot may be read after it (packet_mmap documentation: the kernel sets
// the status last, behind a write barrier).
func loadStatus(slot []byte) uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&slot[0])))
}

// storeStatus hands a slot to the other side; nothing in it is accessed afterwards.
func storeStatus(slot []byte, status uint32) {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&slot[0])), status)
}

// positionAt returns the position at an offset of a ring's memory, a multiple of 8.
func positionAt(memory []byte, at int) *position {
	_ = memory[at+int(unsafe.Sizeof(position{}))-1]
	return (*position)(unsafe.Pointer(&memory[at]))
}

// slotHeader returns the header of a TPACKET_V2 slot.
func slotHeader(slot []byte) *unix.Tpacket2Hdr {
	_ = slot[unix.SizeofTpacket2Hdr-1]
	return (*unix.Tpacket2Hdr)(unsafe.Pointer(&slot[0]))
}

// slotAddress returns the interface on which the frame in a TPACKET_V2 slot arrived; it
// follows the header, both aligned to 16 bytes (TPACKET_ALIGN).
func slotAddress(slot []byte) *unix.RawSockaddrLinklayer {
	_ = slot[unix.SizeofTpacket2Hdr+unix.SizeofSockaddrLinklayer-1]
	return (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&slot[unix.SizeofTpacket2Hdr]))
}

// packetAddress is slotAddress for the packet at the start of b, which lies in a
// TPACKET_V3 block.
func packetAddress(b []byte) *unix.RawSockaddrLinklayer {
	_ = b[unix.SizeofTpacket3Hdr+unix.SizeofSockaddrLinklayer-1]
	return (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&b[unix.SizeofTpacket3Hdr]))
}

// blockHeader returns the header of a TPACKET_V3 block.
func blockHeader(block []byte) *unix.TpacketHdrV1 {
	_ = block[blockHeaderLen-1]
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&block[8]))
}

// blockHeaderLen is the size of struct tpacket_block_desc in bytes: version and
// offset to private data, then the union that holds tpacket_hdr_v1.
const blockHeaderLen = 8 + int(unsafe.Sizeof(unix.TpacketHdrV1{}))

// loadBlockStatus reads the status word of a TPACKET_V3 block.
func loadBlockStatus(block []byte) uint32 {
	return atomic.LoadUint32(&blockHeader(block).Block_status)
}

// storeBlockStatus hands a block to the other side.
func storeBlockStatus(block []byte, status uint32) {
	atomic.StoreUint32(&blockHeader(block).Block_status, status)
}

// packetHeader returns the header of the packet at the start of b, which lies
// in a TPACKET_V3 block.
func packetHeader(b []byte) *unix.Tpacket3Hdr {
	_ = b[unix.SizeofTpacket3Hdr-1]
	return (*unix.Tpacket3Hdr)(unsafe.Pointer(&b[0]))
}

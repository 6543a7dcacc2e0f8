// Package lean gives memory back that a process has from its start and will never use. A lab
// has several processes that wait most of the time; in a class there are twenty labs.
package lean

import (
	"os"
	"runtime/debug"
	"unsafe"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// NoPackets gives back what a process does not need that decodes no packets: the tables of
// gopacket, which its initialization fills with 65,536 entries each, 5.2 MB, and what the heap
// used until now. A packet that is decoded afterwards finds no decoder: nothing in the process
// may use package layers. Only whole pages are given back, and read as zero from then on
// (madvise(2), MADV_DONTNEED).
func NoPackets() {
	giveBack(unsafe.Pointer(&layers.EthernetTypeMetadata), unsafe.Sizeof(layers.EthernetTypeMetadata))
	NoPPP()
}

// NoPPP gives back half of that: the table of a process that decodes packets, but not what is
// in a PPP frame. Package gopacket takes such a frame as one that it cannot decode.
func NoPPP() {
	giveBack(unsafe.Pointer(&layers.PPPTypeMetadata), unsafe.Sizeof(layers.PPPTypeMetadata))
	debug.FreeOSMemory()
}

// giveBack gives the whole pages of a variable back to the kernel. It does not matter if the
// kernel refuses.
func giveBack(p unsafe.Pointer, size uintptr) {
	page := uintptr(os.Getpagesize())
	skip := -uintptr(p) & (page - 1)
	if size < skip+page {
		return
	}
	whole := (size - skip) &^ (page - 1)
	_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(p, skip)), whole), unix.MADV_DONTNEED)
}

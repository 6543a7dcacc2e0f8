package state

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size in bytes of the pages to which Files are aligned.
const hugePage = 2 << 20

// mapAligned maps a whole file so that it begins at a huge page: room for it and one
// page more is reserved, and the file mapped into that.
func mapAligned(f *os.File, size int) (*File, error) {
	room, err := unix.Mmap(-1, 0, size+hugePage, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("state: reserve %d MiB: %w", size>>20, err)
	}
	lead := -uintptr(unsafe.Pointer(&room[0])) % hugePage
	at := unsafe.Pointer(&room[lead])
	if _, err := unix.MmapPtr(int(f.Fd()), 0, at, uintptr(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED); err != nil {
		_ = unix.Munmap(room)
		return nil, fmt.Errorf("state: map %d MiB: %w", size>>20, err)
	}
	return &File{file: f, bytes: room[lead : int(lead)+size : int(lead)+size], mapping: room}, nil
}

// words returns mapped memory, which begins at a page, as words.
func words(b []byte) []atomic.Uint64 {
	return unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&b[0])), len(b)/8)
}

// slots returns mapped memory as Slots.
func slots(b []byte) []Slot {
	return unsafe.Slice((*Slot)(unsafe.Pointer(&b[0])), len(b)/slotSize)
}

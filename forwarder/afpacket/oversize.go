package afpacket

import (
	"bytes"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

const (
	// oversizeLen holds the largest frame with its headroom, in whole cache lines plus one so
	// that buffers do not fall on the same cache sets.
	oversizeLen = (frame.Headroom+frame.MaxLen+63)/64*64 + 64
	// oversizeCount limits the oversize frames in one Recv. The same few buffers are reused,
	// so they stay in the level-2 cache.
	oversizeCount = 8
)

// oversizeBuffers hold the frames that are larger than a ring slot. Their memory is
// allocated when the first such frame arrives: a worker may never see one, and for 64
// workers it would be 34 MB.
type oversizeBuffers struct {
	memory []byte
	used   int
}

func (s *oversizeBuffers) free() bool { return s.used < oversizeCount }

func (s *oversizeBuffers) reset() { s.used = 0 }

// next reports whether the next frame in the socket's receive queue begins like a slot.
func (s *oversizeBuffers) next(fd int, vnet bool, slot []byte) bool {
	at := 0
	if vnet {
		at = frame.OffloadLen
	}
	buf := make([]byte, at+len(slot))
	n, _, err := unix.Recvfrom(fd, buf, unix.MSG_PEEK|unix.MSG_DONTWAIT)
	return err == nil && n == len(buf) && bytes.Equal(buf[at:], slot)
}

// read reads the next frame from the socket's receive queue. It returns the buffer, in
// which the frame begins at frame.Headroom, and the frame's length.
func (s *oversizeBuffers) read(fd int, vnet bool) (buf []byte, n int, ok bool) {
	if s.memory == nil {
		s.memory = make([]byte, oversizeCount*oversizeLen)
	}
	buf = s.memory[s.used*oversizeLen : (s.used+1)*oversizeLen : (s.used+1)*oversizeLen]
	at := frame.Headroom
	if vnet {
		at -= frame.OffloadLen
	}
	n, err := unix.Read(fd, buf[at:])
	if err == unix.ENETDOWN { // from when the link was down; reported only once
		n, err = unix.Read(fd, buf[at:])
	}
	if n -= frame.Headroom - at; err != nil || n < 0 {
		return nil, 0, false
	}
	s.used++
	return buf, n, true
}

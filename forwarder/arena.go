package forwarder

import "uvs/forwarder/frame"

// arena hands out buffers for the frames a worker makes itself: segments,
// fragments, ICMP messages. They live until the batch is sent. It belongs to
// one worker and grows to what the largest batch needed, within bounds: the frames
// of a batch wait for each other.
type arena struct {
	chunks [][]byte
	chunk  int // chunk in use
	used   int // bytes used of it
	made   int // buffers handed out
}

const (
	arenaChunk  = 1 << 18
	arenaChunks = 64 // 16 MiB, some 200 super-frames
	// arenaFrames is how many frames may be made of a batch: as if each were 128
	// segments, as many as Linux makes of UDP, and each segment two fragments.
	arenaFrames = batchSize * 128 * 2
)

// alloc returns n bytes with their head-room before them: a buffer whose frame
// begins at frame.Headroom. It returns nil if the arena is full.
func (a *arena) alloc(n int) []byte {
	n = (n + frame.Headroom + 63) &^ 63
	if n > arenaChunk || a.made == arenaFrames {
		return nil
	}
	if len(a.chunks) == 0 || a.used+n > arenaChunk {
		if !a.next() {
			return nil
		}
	}
	b := a.chunks[a.chunk][a.used : a.used+n : a.used+n]
	a.used += n
	a.made++
	return b
}

func (a *arena) next() bool {
	if len(a.chunks) > 0 {
		a.chunk++
	}
	a.used = 0
	if a.chunk < len(a.chunks) {
		return true
	}
	if len(a.chunks) == arenaChunks {
		a.chunk--
		a.used = arenaChunk
		return false
	}
	a.chunks = append(a.chunks, make([]byte, arenaChunk))
	return true
}

// reset makes all buffers free again.
func (a *arena) reset() { a.chunk, a.used, a.made = 0, 0, 0 }

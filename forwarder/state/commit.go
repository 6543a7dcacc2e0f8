package state

import (
	"encoding/binary"
	"sync/atomic"
)

// commit is where the log begins and ends, twice, in turn: words for what is being
// written, what was written, and of each the number, start, end and checksum. All of it
// is in shared memory, where a kill leaves what was stored.
type commit []atomic.Uint64

const (
	commitWords = 2 + 2*4

	commitBegun = 0
	commitDone  = 1
	commitFirst = 2
)

func (c commit) begin() {
	c.store(0, 0)
	c.store(0, 0)
}

func (c commit) store(start, end int64) {
	n := c[commitDone].Load() + 1
	c[commitBegun].Store(n)
	at := c[commitFirst+4*(n&1):]
	at[0].Store(n)
	at[1].Store(uint64(start))
	at[2].Store(uint64(end))
	at[3].Store(commitSum(at))
	c[commitDone].Store(n)
}

func commitSum(at []atomic.Uint64) uint64 {
	var b [24]byte
	for i := range 3 {
		binary.LittleEndian.PutUint64(b[8*i:], at[i].Load())
	}
	return uint64(checksum(b[:]))
}

// load returns the last commit that is whole. One that a kill interrupted is not.
func (c commit) load() (start, end int64, err error) {
	begun, last := c[commitBegun].Load(), c[commitDone].Load()
	sound := begun == last && c.valid(last) && c.valid(last-1)
	if begun == last+1 {
		sound = c.valid(last) || c.valid(begun)
		if c.valid(begun) {
			last = begun
		}
	}
	at := c[commitFirst+4*(last&1):]
	start, end = int64(at[1].Load()), int64(at[2].Load())
	if !sound || start < 0 || start > end {
		return 0, 0, refuse(countersName, "the length of %s in it is damaged", configName)
	}
	c[commitDone].Store(last)
	c.store(start, end)
	c.store(start, end)
	return start, end, nil
}

func (c commit) valid(n uint64) bool {
	at := c[commitFirst+4*(n&1):]
	return at[0].Load() == n && at[3].Load() == commitSum(at)
}

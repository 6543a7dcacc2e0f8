package forwarder

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"

	"uvs/forwarder/connsync"
)

// syncRing brings entries from a worker to the master that sends them: bytes in the order
// of the wire, each entry with its length before it. One goroutine puts and one takes; no
// lock, and when it is full the worker does not wait.
type syncRing struct {
	b    []byte         // its length is a power of two
	put  uint64         // where the worker writes; only it reads this
	free uint64         // where it may write to, as of when it last looked
	lost uint64         // entries for which there was no room since the last publish
	all  *atomic.Uint64 // of them
	_    [cacheLine]byte
	head atomic.Uint64 // what the worker has published
	done atomic.Bool   // the worker has ended
	_    [cacheLine]byte
	tail atomic.Uint64 // what the master has taken
}

const cacheLine = 64

// entryPrefix is what is before an entry: its length, and the port it goes to.
const entryPrefix = 4

// maxRing bounds the memory of a ring, in bytes.
const maxRing = 16 << 20

func newSyncRing(bytes int, lost *atomic.Uint64) *syncRing {
	size := 1 << bits.Len(uint(min(max(bytes, 4096), maxRing)-1))
	return &syncRing{b: make([]byte, size), all: lost}
}

// add adds an entry, which is behind room for its prefix; publish makes it visible.
func (r *syncRing) add(b []byte, port uint8, version uint8) {
	n := uint64(len(b))
	if r.put+n > r.free {
		if r.free = r.tail.Load() + uint64(len(r.b)); r.put+n > r.free {
			r.lost++
			return
		}
	}
	binary.NativeEndian.PutUint16(b, uint16(n-entryPrefix))
	b[2], b[3] = port, version
	at := int(r.put) & (len(r.b) - 1)
	if c := copy(r.b[at:], b); c < len(b) {
		copy(r.b, b[c:])
	}
	r.put += n
}

func (r *syncRing) publish() {
	if r.head.Load() != r.put {
		r.head.Store(r.put)
	}
	if r.lost > 0 {
		r.all.Add(r.lost)
		r.lost = 0
	}
}

// waiting returns how many bytes the master has not taken.
func (r *syncRing) waiting() int {
	tail := r.tail.Load() // first: the head is never behind it
	return int(r.head.Load() - tail)
}

// take calls f for every entry that was published. The entry is valid during the call.
func (r *syncRing) take(f func(entry []byte, port, version uint8)) {
	var prefix [entryPrefix]byte
	var entry [connsync.MaxEntryLen]byte
	tail, head := r.tail.Load(), r.head.Load()
	for tail != head {
		r.read(prefix[:], tail)
		n := int(binary.NativeEndian.Uint16(prefix[:]))
		r.read(entry[:n], tail+entryPrefix)
		tail += uint64(entryPrefix + n)
		f(entry[:n], prefix[2], prefix[3])
	}
	r.tail.Store(tail)
}

func (r *syncRing) read(b []byte, at uint64) {
	i := int(at) & (len(r.b) - 1)
	n := copy(b, r.b[i:])
	copy(b[n:], r.b)
}

package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"
	"time"

	"uvs/forwarder/frame"
)

// The memory of a table begins with a header; then come the arrays of entries, of
// checksums and of endings (places). Numbers are in the machine's byte order,
// since memory does not leave it.
const (
	// HeaderSize is how much of a table's memory Inspect needs, in bytes.
	HeaderSize = 4096

	headerMagic    = 0
	headerVersion  = 8
	headerCapacity = 12
	headerBase     = 16 // nanoseconds
	headerKey      = 24
	headerCheck    = 40 // CRC-32C of all before
	headerUsed     = 64 // see usedWord

	magic    = "uvsconns"
	pageSize = 4096
)

// Errors of memory that holds no table which can be adopted.
var (
	// ErrForeign is for memory that is something else.
	ErrForeign = errors.New("no connection table")
	// ErrNewer is for a layout that this program does not know.
	ErrNewer = errors.New("made by a newer uvs")
	// ErrOlder is for a layout that needs Convert.
	ErrOlder = errors.New("made by an older uvs")
	// ErrDamaged is for a table that holds what no table ever writes, however its
	// process ended.
	ErrDamaged = errors.New("damaged")
)

// Header is what the memory of a table says about itself.
type Header struct {
	Version  uint32
	Capacity int
	Base     time.Duration // the caller's clock at the beginning of tick 1
	Key      [16]byte      // random, for digests that entries hold
}

// Inspect reads the header of a table's memory. It reports false if the memory is
// new. Errors wrap ErrForeign, ErrNewer or ErrDamaged; an older layout is none.
func Inspect(b []byte) (h Header, written bool, err error) {
	return inspect(b, layouts)
}

func inspect(b []byte, known []layout) (h Header, written bool, err error) {
	if len(b) < HeaderSize {
		return h, false, fmt.Errorf("conntrack: %d bytes: %w: truncated", len(b), ErrDamaged)
	}
	if binary.NativeEndian.Uint64(b) == 0 && binary.NativeEndian.Uint64(b[headerUsed:]) == 0 {
		return h, false, nil // also one whose making was interrupted: it holds no entry
	}
	if string(b[:len(magic)]) != magic {
		return h, false, fmt.Errorf("conntrack: %w: begins with %q", ErrForeign, b[:len(magic)])
	}
	if sum := binary.NativeEndian.Uint32(b[headerCheck:]); sum != headerSum(b) {
		return h, false, fmt.Errorf("conntrack: header: %w: its checksum is %08x, not %08x", ErrDamaged, headerSum(b), sum)
	}
	h.Version = binary.NativeEndian.Uint32(b[headerVersion:])
	h.Capacity = int(binary.NativeEndian.Uint32(b[headerCapacity:]))
	h.Base = time.Duration(binary.NativeEndian.Uint64(b[headerBase:]))
	copy(h.Key[:], b[headerKey:])
	switch {
	case h.Version > known[0].version:
		return h, false, fmt.Errorf("conntrack: layout %d, where this program knows up to %d: %w", h.Version, known[0].version, ErrNewer)
	case layoutOf(h.Version, known) == nil:
		return h, false, fmt.Errorf("conntrack: layout %d: %w", h.Version, ErrForeign)
	case h.Capacity < 1 || h.Capacity > MaxCapacity:
		return h, false, fmt.Errorf("conntrack: %w: capacity %d", ErrDamaged, h.Capacity)
	}
	return h, true, nil
}

func headerSum(b []byte) uint32 {
	return crc32.Checksum(b[:headerCheck], crc32.MakeTable(crc32.Castagnoli))
}

// write makes b the header of an empty table. The magic number is last: without
// it memory counts as new.
func (h *Header) write(b []byte) {
	binary.NativeEndian.PutUint32(b[headerVersion:], h.Version)
	binary.NativeEndian.PutUint32(b[headerCapacity:], uint32(h.Capacity))
	binary.NativeEndian.PutUint64(b[headerBase:], uint64(h.Base))
	copy(b[headerKey:], h.Key[:])
	sum := crc32.Checksum(append([]byte(magic), b[len(magic):headerCheck]...), crc32.MakeTable(crc32.Castagnoli))
	binary.NativeEndian.PutUint32(b[headerCheck:], sum)
	storeWord(b[headerMagic:], binary.NativeEndian.Uint64([]byte(magic)))
}

// usedWord is how the header says that slots up to n have been allocated: with a
// check, in one word, which a kill cannot tear.
func usedWord(n uint32) uint64 { return uint64(n) | uint64(n*0x9e3779b1^0x85ebca6b)<<32 }

// usedOf returns the number of a usedWord; one that was never written is 0.
func usedOf(b []byte, capacity int) (uint32, error) {
	word := binary.NativeEndian.Uint64(b[headerUsed:])
	n := uint32(word)
	if word != 0 && word != usedWord(n) || int(n) > capacity {
		return 0, fmt.Errorf("conntrack: header: %w: %016x is no number of entries", ErrDamaged, word)
	}
	return n, nil
}

// layout is a version of the memory's layout. A program reads its own and the one
// before. Where the next version differs, the present one becomes the second of
// layouts, with its fields as they were; fields that it lacks are zero after
// Convert.
type layout struct {
	version         uint32
	conn, ending    []field
	connLen, endLen int
	sum             func(*Conn, *ending) uint32
}

// field is where a field of Conn or ending is.
type field struct {
	name     string
	at, size uintptr
}

// layouts are those that the program reads, its own first.
var layouts = []layout{{
	version: 1,
	conn:    connFields, connLen: ConnSize,
	ending: endingFields, endLen: endingSize,
	sum: (*Conn).sum,
}}

func layoutOf(version uint32, known []layout) *layout {
	for i := range known {
		if known[i].version == version {
			return &known[i]
		}
	}
	return nil
}

// places are where the arrays of a table with n entries begin, in bytes. Entries
// follow the header.
type places struct{ sums, endings, size int }

func (l *layout) place(n int) (p places) {
	p.sums = pageSpan(0, HeaderSize+n*l.connLen)
	p.endings = p.sums + wholePages(n*4)
	p.size = p.endings + wholePages(n*l.endLen)
	return p
}

func wholePages(n int) int { return (n + pageSize - 1) &^ (pageSize - 1) }

// Size returns how many bytes of Memory a table of a capacity needs; 0 means
// DefaultCapacity.
func Size(capacity int) int {
	if capacity == 0 {
		capacity = DefaultCapacity
	}
	return layouts[0].place(capacity + 1).size
}

// immutable are the flags that do not change while a connection is in the table.
const immutable = methodMask | Template | OnePacket | NoClientPort | FromHost | Renumbered

// sum returns the checksum over what does not change while a connection is in the
// table.
func (c *Conn) sum(e *ending) uint32 {
	const seed, odd, prime = 0x2545f4914f6cdd1d, 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	flags := c.Flags() & immutable
	client := c.RequestFlow()
	server := frame.MakeFlow(0, &c.Real, &c.Local, c.RealPort, c.LocalPort)
	h := client.Hash(seed) ^ server.Hash(uint64(c.Server)<<32|uint64(c.Control)) ^ uint64(flags)*odd
	if flags&Renumbered == 0 {
		return uint32(h ^ h>>32)
	}
	if c.hasEnding() {
		h ^= (uint64(e.seqOffset)<<1 | uint64(atomic.LoadUint32(&e.marks)/noTimestamps&1)) * prime
	}
	if made := atomic.LoadUint32(&e.handshake) & agreed; made != 0 {
		h ^= (uint64(e.cookie)<<32|uint64(e.stamp))*odd ^ uint64(made)*prime
	}
	return uint32(h ^ h>>32)
}

package conntrack

import (
	"sync/atomic"
	"unsafe"
)

// connFields and endingFields are layout 1. The next one gets lists of its own,
// and these become literal.
var (
	connFields = []field{
		{"client port", unsafe.Offsetof(Conn{}.ClientPort), 2},
		{"virtual port", unsafe.Offsetof(Conn{}.VirtualPort), 2},
		{"status", unsafe.Offsetof(Conn{}.status), 4},
		{"seen", unsafe.Offsetof(Conn{}.seen), 4},
		{"timeout", unsafe.Offsetof(Conn{}.timeout), 4},
		{"client", unsafe.Offsetof(Conn{}.Client), 16},
		{"virtual", unsafe.Offsetof(Conn{}.Virtual), 16},
		{"packets", unsafe.Offsetof(Conn{}.packets), 4},
		{"server", unsafe.Offsetof(Conn{}.Server), 4},
		{"real", unsafe.Offsetof(Conn{}.Real), 16},
		{"real port", unsafe.Offsetof(Conn{}.RealPort), 2},
		{"local port", unsafe.Offsetof(Conn{}.LocalPort), 2},
		{"receive next", unsafe.Offsetof(Conn{}.rcvNext), 4},
		{"control", unsafe.Offsetof(Conn{}.Control), 4},
		{"local", unsafe.Offsetof(Conn{}.Local), 16},
	}
	endingFields = []field{
		{"port state", unsafe.Offsetof(ending{}.portState), 4},
		{"marks", unsafe.Offsetof(ending{}.marks), 4},
		{"fin", unsafe.Offsetof(ending{}.fin), 8},
		{"time stamp", unsafe.Offsetof(ending{}.tsval), 4},
		{"offset", unsafe.Offsetof(ending{}.seqOffset), 4},
		{"cookie", unsafe.Offsetof(ending{}.cookie), 4},
		{"stamp", unsafe.Offsetof(ending{}.stamp), 4},
		{"server number", unsafe.Offsetof(ending{}.serverSeq), 4},
		{"server stamp", unsafe.Offsetof(ending{}.serverStamp), 4},
		{"handshake", unsafe.Offsetof(ending{}.handshake), 4},
	}
)

func connOf(c *Conn) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(c)), ConnSize) }

func bytesOf(e *ending) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(e)), endingSize) }

// storeWord stores eight bytes at once.
func storeWord(b []byte, v uint64) { atomic.StoreUint64((*uint64)(unsafe.Pointer(&b[0])), v) }

package afpacket

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// ring is a receive ring of either kind.
type ring interface {
	// fill takes back what the previous fill lent and lends up to len(fs) frames.
	fill(fd int, fs []frame.Frame) int
	// giveBack takes back what fill lent: it is done with.
	giveBack()
	// begin says that a new ring is at its beginning.
	begin()
	// resume goes on in a ring that an earlier process read, and returns how many frames
	// it left out. It is called before the first fill.
	resume(fd int) (skipped int, err error)
}

// Who releases a port.
const (
	nobody int32 = iota
	worker       // Recv was called: it does, when it finds the port closed
	closer       // Close does
)

// receiver is the receiving half of a port.
type receiver struct {
	ring     ring
	memory   []byte // the mapping, shared with the kernel
	counters *rxCounters

	owner atomic.Int32 // who releases the port: whoever comes first sets it

	poll [2]unix.PollFd // the socket, and what Close writes to
}

// recv drains the ring, and if it is empty waits for a frame, or until wake ends the
// wait: then it returns 0.
//
// The wait is a system call of the worker's own. Go's network poller would wake one of
// its threads for each frame that arrives while the worker is busy, which cost a TCP
// connection 13 µs of CPU time in 86 (uvs bench tcp, NAT, one worker).
func (rx *receiver) recv(fs []frame.Frame) int {
	for {
		n := rx.ring.fill(int(rx.poll[0].Fd), fs)
		if n > 0 {
			rx.counters.received.Add(uint64(n))
			return n
		}
		if rx.wait(); rx.poll[1].Revents != 0 {
			return 0
		}
	}
}

// wait blocks until the socket or the wake has something.
func (rx *receiver) wait() {
	rx.poll[0].Events, rx.poll[1].Events = unix.POLLIN, unix.POLLIN
	_, _ = unix.Poll(rx.poll[:], -1) // EINTR: look again
	if rx.poll[0].Revents&unix.POLLERR != 0 {
		// An interface went down. Reading the error resets it.
		_, _ = unix.GetsockoptInt(int(rx.poll[0].Fd), unix.SOL_SOCKET, unix.SO_ERROR)
	}
}

// claim makes the caller the one that releases the port, and reports whether it is.
func (rx *receiver) claim(who int32) bool {
	return rx.owner.CompareAndSwap(nobody, who) || rx.owner.Load() == who
}

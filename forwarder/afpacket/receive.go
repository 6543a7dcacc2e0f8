package afpacket

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// ring is a receive ring of either kind.
type ring interface {
	// fill takes back what the previous fill lent and lends up to len(fs) frames.
	fill(fd int, fs []frame.Frame) int
}

// receiver is the receiving half of a port.
type receiver struct {
	ring     ring
	memory   []byte // the mapping, shared with the kernel
	counters *rxCounters

	started atomic.Bool // Recv was called, so it will unmap
	unmapIt sync.Once

	// Arguments and results of receive, which is built once: a closure for
	// each call would be an allocation for each batch.
	receive func(fd uintptr) bool
	fs      []frame.Frame
	n       int
}

func newReceiver(memory []byte, r ring, c *rxCounters) *receiver {
	rx := &receiver{ring: r, memory: memory, counters: c}
	rx.receive = func(fd uintptr) bool {
		rx.n = rx.ring.fill(int(fd), rx.fs)
		return rx.n > 0 // else wait: nothing arrived yet
	}
	return rx
}

// recv drains the ring, and if it is empty waits in the network poller.
func (rx *receiver) recv(raw syscall.RawConn, fs []frame.Frame) (int, error) {
	rx.fs, rx.n = fs, 0
	err := raw.Read(rx.receive)
	rx.fs = nil
	rx.counters.received.Add(uint64(rx.n))
	return rx.n, err
}

// unmap frees the ring's memory. No frame of the port is used afterwards.
func (rx *receiver) unmap() {
	rx.unmapIt.Do(func() { _ = unix.Munmap(rx.memory) })
}

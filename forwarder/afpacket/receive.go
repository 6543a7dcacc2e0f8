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
	// fill takes back what the fill before lent and lends up to len(fs) frames.
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
	empty   int // times in this Recv that the ring was empty
	err     error
}

func newReceiver(memory []byte, r ring, c *rxCounters) *receiver {
	rx := &receiver{ring: r, memory: memory, counters: c}
	rx.receive = func(fd uintptr) bool {
		rx.n = rx.ring.fill(int(fd), rx.fs)
		return rx.n > 0 || rx.dead(int(fd))
	}
	return rx
}

// recv drains the ring, and if it is empty waits in the network poller.
func (rx *receiver) recv(raw syscall.RawConn, fs []frame.Frame) (int, error) {
	rx.fs, rx.n, rx.empty, rx.err = fs, 0, 0, nil
	err := raw.Read(rx.receive)
	rx.fs = nil
	if rx.n > 0 {
		rx.counters.received.Add(uint64(rx.n))
		return rx.n, nil
	}
	if err == nil {
		err = rx.err
	}
	return 0, err
}

// dead finds out why the poller woke us for an empty ring: an interface that
// went down leaves an error on the socket. It comes back by itself when the
// interface is up again, but not when that was removed (packet_notifier in
// net/packet/af_packet.c sets the bound index to -1).
func (rx *receiver) dead(fd int) bool {
	rx.empty++
	if rx.empty == 1 {
		return false // nothing arrived yet: the usual case costs no system call
	}
	if e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || e == 0 {
		return false
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	if ll, ok := sa.(*unix.SockaddrLinklayer); ok && ll.Ifindex <= 0 {
		rx.err = unix.ENODEV
		return true
	}
	return false
}

// unmap gives the ring's memory back. No frame of the port is used afterwards.
func (rx *receiver) unmap() {
	rx.unmapIt.Do(func() { _ = unix.Munmap(rx.memory) })
}

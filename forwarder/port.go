package forwarder

import (
	"golang.org/x/net/bpf"

	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
)

// Port is a queue of frames of one interface. One goroutine calls Recv, one
// calls Send; they may be the same.
type Port interface {
	// Recv blocks until there is at least one frame, fills fs from its start
	// and returns how many. The frames are borrowed: they are valid until the
	// next Recv. After Close it returns net.ErrClosed.
	Recv(fs []frame.Frame) (int, error)
	// Send transmits the frames in order. It skips a frame the kernel refuses
	// and goes on; it returns how many went out, and an error only if the port
	// can send nothing any more.
	Send(fs []frame.Frame) (int, error)
	// Close wakes a blocked Recv and frees the port's memory once Recv has
	// returned.
	Close() error
}

// Driver opens ports on interfaces: AF_PACKET rings, plain sockets, TAP
// devices, or memory in tests.
type Driver interface {
	// Open opens receive queue number queue of queues on the interface; flows
	// are spread over the queues so that one flow stays on one of them. Only
	// frames that the filter accepts arrive.
	Open(l neigh.Link, queue, queues int, filter []bpf.RawInstruction) (Port, error)
	// Sender opens a port of which only Send and Close are used, for a worker
	// that receives on another interface.
	Sender(l neigh.Link) (Port, error)
}

// filterer is a Port whose filter can change while it runs.
type filterer interface {
	SetFilter(filter []bpf.RawInstruction) error
}

// portStats is a Port that counts what the kernel did besides: ring drops,
// frames cut, and the like. Names are stable and appear in `uvs stats`.
type portStats interface {
	Counters() map[string]uint64
}

// Package port says what the director asks of that by which frames come and
// leave: a Port is a queue of frames, a Driver opens ports on interfaces.
//
// The drivers are in packages of their own: AF_PACKET rings (afpacket), plain
// packet sockets (socket), TAP devices (tap), and the host's own sockets (host);
// porttest has ports in memory. Whoever writes another one implements Port and
// Driver, runs the tests of package porttest/conform on it, and gives the Driver to
// the director. What a port or driver can do besides is an interface of its own
// here, and optional: FilterSetter, Counter, Joiner.
package port

import (
	"errors"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
)

// Port is a queue of frames of one interface or of several. One goroutine at a
// time calls Recv and Send.
type Port interface {
	// Recv blocks until there is at least one frame, fills fs from its start
	// and returns how many. The frames are borrowed: they are valid until the
	// next Recv. Ingress says by which interface each came. After Close it returns
	// net.ErrClosed.
	Recv(fs []frame.Frame) (int, error)
	// Send transmits the frames in order, each by the interface with the index
	// Egress if the port has several. It skips a frame the kernel refuses, sets its
	// field Refused, and goes on; it returns how many went out, and an error only if the
	// port can send nothing any more: then all that did not go out are Refused.
	Send(fs []frame.Frame) (int, error)
	// Close wakes a blocked Recv.
	Close() error
}

// Driver opens ports on interfaces: AF_PACKET rings, plain sockets, TAP
// devices, or memory. All interfaces share the ports of the zero Link, which are
// bound to no interface, except those that need ports of their own.
type Driver interface {
	// OwnPorts reports whether an interface needs ports of its own.
	OwnPorts(l neigh.Link) bool
	// Open opens up to queues ports of an interface, or with the zero Link of all;
	// flows are spread over them so that one flow stays on one. Only frames that
	// the filter accepts arrive. On the shared ones frames of interfaces that the
	// director does not serve may come as well.
	Open(l neigh.Link, queues int, filter []bpf.RawInstruction) ([]Port, error)
	// Sender opens a port of which only Send and Close are used, for a worker whose
	// own port does not send by that interface. The one of the loopback interface
	// delivers to the host itself.
	Sender(l neigh.Link) (Port, error)
}

// Joiner is a Driver that makes an interface ready for TCP.
type Joiner interface {
	// Join is called once TCP that came by the interface was forwarded. It may
	// block: no worker waits for it.
	Join(l neigh.Link)
}

// Join has the driver make an interface ready for TCP, if it can.
func Join(d Driver, l neigh.Link) {
	if d, ok := d.(Joiner); ok {
		d.Join(l)
	}
}

// FilterSetter is a Port whose filter can change while it runs.
type FilterSetter interface {
	// SetFilter replaces the filter; nil admits everything. It may be called while
	// another goroutine receives. After Close it returns net.ErrClosed.
	SetFilter(filter []bpf.RawInstruction) error
}

// Counter is a Port that counts what the kernel did besides: ring drops,
// frames cut, and the like.
type Counter interface {
	// Counters returns the counts by stable names, which `uvs stats` shows after
	// "port-". It may be called while the port is in use and after it is closed.
	Counters() map[string]uint64
}

// Refuse marks frames that were not sent.
func Refuse(fs []frame.Frame) {
	for i := range fs {
		fs[i].Refused = true
	}
}

// RejectAll returns a filter that no frame passes.
func RejectAll() []bpf.RawInstruction {
	return []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: 0}}
}

// IsTransient reports whether an error is a shortage of descriptors or memory, which may pass
// without our help.
func IsTransient(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) ||
		errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS)
}

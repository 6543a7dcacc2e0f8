package forwarder

import (
	"context"
	"net/netip"

	"golang.org/x/net/bpf"

	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
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
	// Egress if the port has several. It skips a frame the kernel refuses
	// and goes on; it returns how many went out, and an error only if the port
	// can send nothing any more.
	Send(fs []frame.Frame) (int, error)
	// Close wakes a blocked Recv.
	Close() error
}

// Driver opens ports on interfaces: AF_PACKET rings, plain sockets, TAP
// devices, or memory in tests. All interfaces share the ports of the zero Link,
// as it were those of a socket that is bound to none, but for those that are
// Alone.
type Driver interface {
	// Alone reports whether an interface needs ports of its own.
	Alone(l neigh.Link) bool
	// Open opens up to queues ports of an interface, or with the zero Link of all;
	// flows are spread over them so that one flow stays on one. Only frames that
	// the filter accepts arrive. On the shared ones frames of interfaces that the
	// director does not serve may come as well.
	Open(l neigh.Link, queues int, filter []bpf.RawInstruction) ([]Port, error)
	// Sender opens a port of which only Send and Close are used, for who has none
	// that sends by that interface. That of the loopback interface delivers to the
	// host itself.
	Sender(l neigh.Link) (Port, error)
}

// joiner is a Driver that makes an interface ready for TCP, once some that came by
// it was forwarded. It takes its time.
type joiner interface {
	Join(l neigh.Link)
}

// filterer is a Port whose filter can change while it runs. A closed one returns
// net.ErrClosed.
type filterer interface {
	SetFilter(filter []bpf.RawInstruction) error
}

// portCounter is a Port that counts what the kernel did besides: ring drops,
// frames cut, and the like. The names are stable and appear in `uvs stats`.
type portCounter interface {
	Counters() map[string]uint64
}

// Neighbours is what the director knows about the network around it; a
// *neigh.Table outside of tests. Its methods are described there.
type Neighbours interface {
	Run(ctx context.Context) error
	Generation() uint64
	Lookup(dst netip.Addr) (*neigh.Hop, frame.Verdict)
	Queue(h *neigh.Hop, f *frame.Frame) frame.Verdict
	Doubt(dst netip.Addr)
	Answer(f *frame.Frame) frame.Verdict
	SetOwned(addrs []netip.Addr)
	ChangeOwned(add, remove []netip.Addr)
	LocalAddr(a netip.Addr) bool
	Forwarding(is6 bool) bool
	Admits(f *frame.Frame, link int) frame.Verdict
	SourceRouted(link int) bool
	Links() []neigh.Link
	LinkChanges() <-chan struct{}
}

// Guard keeps the host's own stack away from what the director serves; a
// *guard.Guard outside of tests.
type Guard interface {
	Set(r guard.Rules) error
	Change(c guard.Change) error
}

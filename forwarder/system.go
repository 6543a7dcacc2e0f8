package forwarder

import (
	"context"
	"net/netip"

	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
)

// Neighbours is what the director knows about the network around it; a
// *neigh.Table outside of tests. Its methods are described there.
type Neighbours interface {
	Run(ctx context.Context) error
	Generation() uint64
	Lookup(dst netip.Addr) (*neigh.Hop, frame.Verdict)
	Queue(h *neigh.Hop, f *frame.Frame) frame.Verdict
	Probe(dst netip.Addr)
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

// Guard keeps the director's packets from the host's own stack; a *guard.Guard outside
// of tests.
type Guard interface {
	Set(r guard.Rules) error
	Change(c guard.Change) error
}

package neigh

import (
	"context"
	"net/netip"

	"uvs/forwarder/frame"
)

// Static is a network that is known from the start and does not change, for a director
// on ports outside any network namespace, say in memory or to a virtual machine. ARP
// and neighbour discovery for the virtual addresses are not answered; senders have to
// know the MAC address of the link. Its fields must not change while a director uses
// it.
type Static struct {
	// Interfaces are the links, which must be Up.
	Interfaces []Link
	// Routes lead to the neighbours; the first one that contains an address is used.
	Routes []StaticRoute
}

// StaticRoute is the route to a network.
type StaticRoute struct {
	To  netip.Prefix
	Hop Hop
}

// NewHop returns a next hop with a MAC address on a link. Source is the director's
// own address there, the zero Addr if it has none.
func NewHop(l Link, mac [6]byte, source netip.Addr) Hop {
	return Hop{
		Link: l.Index, MTU: l.MTU, SrcMAC: l.MAC, DstMAC: mac,
		Resolved: true, Ethernet: l.Ethernet, Source: source,
	}
}

// Run returns the context's error when it ends.
func (s *Static) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Generation returns 1: results of Lookup stay valid.
func (s *Static) Generation() uint64 { return 1 }

// Lookup returns the next hop towards an address, or frame.DropNoRoute.
func (s *Static) Lookup(dst netip.Addr) (*Hop, frame.Verdict) {
	for i := range s.Routes {
		if s.Routes[i].To.Contains(dst) {
			return &s.Routes[i].Hop, frame.Continue
		}
	}
	return nil, frame.DropNoRoute
}

// Queue drops a frame whose next hop has no MAC address, which is not resolved.
func (s *Static) Queue(*Hop, *frame.Frame) frame.Verdict { return frame.DropNeighbourQueue }

// Probe does nothing.
func (s *Static) Probe(netip.Addr) {}

// Answer answers nothing.
func (s *Static) Answer(*frame.Frame) frame.Verdict { return frame.Pass }

// SetOwned does nothing: no address is announced.
func (s *Static) SetOwned([]netip.Addr) {}

// ChangeOwned does nothing.
func (s *Static) ChangeOwned(add, remove []netip.Addr) {}

// LocalAddr returns false: there is no host.
func (s *Static) LocalAddr(netip.Addr) bool { return false }

// Forwarding returns false: there is no host that forwards.
func (s *Static) Forwarding(bool) bool { return false }

// Admits admits every source.
func (s *Static) Admits(*frame.Frame, int) frame.Verdict { return frame.Continue }

// SourceRouted returns false: source routes are not followed.
func (s *Static) SourceRouted(int) bool { return false }

// Links returns the links.
func (s *Static) Links() []Link { return s.Interfaces }

// LinkChanges returns nil, a channel that never receives.
func (s *Static) LinkChanges() <-chan struct{} { return nil }

package forwarder

import (
	"cmp"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"

	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/porttest"
)

// The network of these tests: the director between a client side and a server
// side, as in
//
//	client 172.16.0.0/12 ── router 02:00:00:02:00:01 ── c (link 1) director
//	director s (link 2) ── real servers 10.1.0.n, 02:00:00:01:00:n
//
// with virtual addresses in 10.2.0.0/16 and the director's own 10.9.0.1 and
// 10.1.255.254.
var (
	clientLink = neigh.Link{Index: 1, Name: "c", MAC: [6]byte{2, 0, 0, 0xd0, 0, 1}, MTU: 1500, Up: true, Ethernet: true}
	serverLink = neigh.Link{Index: 2, Name: "s", MAC: [6]byte{2, 0, 0, 0xd0, 0, 2}, MTU: 1500, Up: true, Ethernet: true}
)

// network is a Neighbours that knows the network above.
type network struct {
	neigh.Static
	changes chan struct{}
	owned   []netip.Addr
	probed  []string
	forward bool
	local   func(netip.Addr) bool // addresses of the host itself; nil: none
	mtu     map[string]int        // of c0 and r0, where it is not 1500

	generation   uint64
	sourceRouted bool
	admits       func(f *frame.Frame, link int) frame.Verdict // nil: everything
}

func newNetwork() *network {
	return &network{Static: neigh.Static{Interfaces: []neigh.Link{clientLink, serverLink}}, changes: make(chan struct{})}
}

func (n *network) Generation() uint64      { return 1 + n.generation }
func (n *network) Probe(a netip.Addr)      { n.probed = append(n.probed, a.String()) }
func (n *network) SetOwned(a []netip.Addr) { n.owned = a }
func (n *network) ChangeOwned(add, remove []netip.Addr) {
	n.owned = slices.DeleteFunc(n.owned, func(a netip.Addr) bool { return slices.Contains(remove, a) })
	n.owned = append(n.owned, add...)
	slices.SortFunc(n.owned, netip.Addr.Compare)
}
func (n *network) LocalAddr(a netip.Addr) bool { return n.local != nil && n.local(a) }
func (n *network) Forwarding(bool) bool        { return n.forward }
func (n *network) SourceRouted(int) bool       { return n.sourceRouted }
func (n *network) Admits(f *frame.Frame, link int) frame.Verdict {
	if n.admits == nil {
		return frame.Continue
	}
	return n.admits(f, link)
}
func (n *network) LinkChanges() <-chan struct{} { return n.changes }

func (n *network) Lookup(dst netip.Addr) (*neigh.Hop, frame.Verdict) {
	b := dst.As16()
	server := dst.Is4() && b[12] == 10 && b[13] == 1 || dst.Is6() && b[0] == 0xfd && b[3] == 1
	client := dst.Is4() && b[12] == 172 || dst.Is6() && b[0] == 0xfd && b[3] == 0xc
	switch {
	case server:
		h := &neigh.Hop{Link: 2, MTU: cmp.Or(n.mtu["r0"], serverLink.MTU), SrcMAC: serverLink.MAC, DstMAC: [6]byte{2, 0, 0, 1, 0, b[15]}, Resolved: true, Ethernet: true}
		h.Source = netip.MustParseAddr("10.1.255.254")
		if dst.Is6() {
			h.Source = netip.MustParseAddr("fd00:1::fffe")
		}
		return h, frame.Continue
	case client:
		h := &neigh.Hop{Link: 1, MTU: cmp.Or(n.mtu["c0"], clientLink.MTU), SrcMAC: clientLink.MAC, DstMAC: [6]byte{2, 0, 0, 2, 0, 1}, Resolved: true, Ethernet: true}
		h.Source = netip.MustParseAddr("10.9.0.1")
		if dst.Is6() {
			h.Source = netip.MustParseAddr("fd00:9::1")
		}
		return h, frame.Continue
	}
	return nil, frame.DropNoRoute
}

// memory is a Driver whose interfaces are pipes.
type memory struct{ near, far map[int]*porttest.Port }

func newMemory() *memory {
	m := &memory{near: map[int]*porttest.Port{}, far: map[int]*porttest.Port{}}
	for _, i := range []int{1, 2} {
		m.near[i], m.far[i] = porttest.Pipe()
		m.near[i].Index = i
	}
	return m
}

func (m *memory) OwnPorts(neigh.Link) bool { return true }

func (m *memory) Open(l neigh.Link, _ int, _ []bpf.RawInstruction) ([]port.Port, error) {
	return []port.Port{m.near[l.Index]}, nil
}

// Sender lends the interface's port, which its own worker closes.
func (m *memory) Sender(l neigh.Link) (port.Port, error) { return lent{m.near[l.Index]}, nil }

type lent struct{ *porttest.Port }

func (lent) Close() error { return nil }

// noGuard is a Guard on a kernel that redirects the host's packets. It does nothing.
type noGuard struct{}

func (noGuard) Set(guard.Rules) error         { return nil }
func (noGuard) Change(guard.Change) error     { return nil }
func (noGuard) RedirectsHost() bool           { return true }
func (noGuard) AddTuple(guard.Tuple) error    { return nil }
func (noGuard) RemoveTuple(guard.Tuple) error { return nil }
func (noGuard) AddReply(guard.Reply) error    { return nil }
func (noGuard) RemoveReply(guard.Reply) error { return nil }

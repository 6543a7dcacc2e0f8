package neigh

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Link is a network interface as the director sees it.
type Link struct {
	Index    int
	Name     string
	Kind     string  // the kernel's name for its kind, "veth", "vlan"; empty for hardware
	MAC      [6]byte // zero if it has none
	MTU      int     // bytes of an IP packet
	Up       bool    // administratively
	Running  bool    // up and with a carrier
	Ethernet bool    // frames have an Ethernet header
	Bare     bool    // frames are IP packets without a link-layer header: a tunnel, TUN, PPP
	Loopback bool
	NoARP    bool // neighbours need no MAC address
	Master   int  // index of the bridge, bond or VRF it belongs to, 0 if none
	Parent   int  // index of the interface below, valid if VLAN is set
	VLAN     uint16

	port bool // of a bridge, bond, team or switch: its master has the addresses
}

// usable reports whether a director works on the link when it is up: it has no master
// that takes its place. A dummy carries no packets.
func (l *Link) usable() bool {
	return (l.Ethernet || l.Bare) && !l.Loopback && !l.port && l.Kind != "dummy"
}

func (l *Link) carries() bool { return l.Up && l.usable() }

// bareTypes are the kinds of link layer, by the library's names for ARPHRD_
// numbers, whose frames are IP packets.
var bareTypes = map[string]bool{"none": true, "ppp": true, "ipip": true, "tunnel6": true, "sit": true, "gre": true}

// Links returns the interfaces a director works on, sorted by index: Ethernet or
// bare, up, not a port of a bridge or bond, whose master has the addresses. A VLAN on
// top of an interface is a Link of its own.
func (t *Table) Links() []Link { return slices.Clone(t.view.Load().ports) }

// Link returns any interface by its index, including those that Links omits.
func (t *Table) Link(index int) (Link, bool) {
	if l := t.view.Load().links[index]; l != nil {
		return l.Link, true
	}
	return Link{}, false
}

// LinkChanges receives a value after the result of Links or of LocalAddr has changed.
// Several changes may become one value.
func (t *Table) LinkChanges() <-chan struct{} { return t.linkChanges }

// LocalAddr reports whether packets to a are delivered on this host, as the
// kernel's routes say.
func (t *Table) LocalAddr(a netip.Addr) bool {
	w := t.view.Load().route(a.Unmap())
	return w != nil && w.local
}

// Forwarding reports whether the host forwards packets between its interfaces,
// as sysctl net.ipv4.ip_forward or net.ipv6.conf.all.forwarding says.
func (t *Table) Forwarding(is6 bool) bool {
	v := t.view.Load()
	if is6 {
		return v.forwarding6
	}
	return v.forwarding4
}

// link is a Link with its addresses.
type link struct {
	Link
	addrs []address
}

// address is an address of an interface.
type address struct {
	link      int
	prefix    netip.Prefix // the address with the length of its network
	scope     int          // RT_SCOPE_UNIVERSE 0, RT_SCOPE_LINK 253, RT_SCOPE_HOST 254
	secondary bool
	unusable  bool // tentative, or a duplicate
	old       bool // deprecated
}

// state is the result of one reading of the kernel.
type state struct {
	links                    []Link
	addrs                    []address
	routes                   []route
	rules                    []rule
	inputs                   map[int]inputs
	forwarding4, forwarding6 bool
}

// view is the state prepared for lookups. It is immutable.
type view struct {
	links                    map[int]*link
	addressed                []*link // those with addresses, by index
	loopback                 *link
	ports                    []Link // what Links returns
	addrs                    []address
	macs                     map[[6]byte]bool // of all links
	fib4, fib6               fib
	own4                     *own4 // nil: look into fib4
	paths                    map[pathFacts]*path
	inputs                   map[int]inputs
	forwarding4, forwarding6 bool
	took                     time.Duration // to read it
}

// newView builds the view of s. Paths that old has too are shared with it, so that Hops
// outlive an unrelated change.
func newView(s *state, old *view) *view {
	v := &view{
		links:       make(map[int]*link, len(s.links)),
		paths:       make(map[pathFacts]*path),
		macs:        make(map[[6]byte]bool, len(s.links)),
		forwarding4: s.forwarding4,
		forwarding6: s.forwarding6,
		addrs:       s.addrs,
		inputs:      s.inputs,
	}
	for _, l := range s.links {
		v.links[l.Index] = &link{Link: l}
		v.macs[l.MAC] = true
		if l.Loopback && v.loopback == nil {
			v.loopback = v.links[l.Index]
		}
		if l.carries() {
			v.ports = append(v.ports, l)
		}
	}
	slices.SortFunc(v.ports, func(a, b Link) int { return cmp.Compare(a.Index, b.Index) })
	for _, a := range s.addrs {
		if l := v.links[a.link]; l != nil {
			l.addrs = append(l.addrs, a)
		}
	}
	v.addressed = v.withAddresses()
	v.buildRoutes(s, old)
	v.own4 = newOwn4(&v.fib4)
	return v
}

// withAddresses returns the links that have addresses, by index.
func (v *view) withAddresses() []*link {
	var all []*link
	for _, l := range v.links {
		if len(l.addrs) > 0 {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *link) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

// reload rereads the kernel's links, addresses, routes and rules and publishes the view
// of them.
func (t *Table) reload() error {
	began := time.Now()
	s, err := t.kernel.load()
	if err != nil {
		return err
	}
	old := t.view.Load()
	var before []route
	if t.state != nil {
		before = t.state.routes
	}
	v := t.publishView(s, began)
	t.joinGroups()
	if !slices.Equal(old.ports, v.ports) || !slices.Equal(old.addrs, v.addrs) || !sameLocals(before, s.routes) {
		t.tellLinkChange()
	}
	return nil
}

func (t *Table) tellLinkChange() {
	select {
	case t.linkChanges <- struct{}{}:
	default:
	}
}

// sameLocals reports whether two readings of the routes have the same local ones, by which
// the host has addresses: the agents of some clouds give it addresses by such a route
// alone.
func sameLocals(a, b []route) bool {
	return slices.EqualFunc(locals(a), locals(b), func(a, b *route) bool { return a.dst == b.dst && a.table == b.table })
}

func locals(all []route) (some []*route) {
	for i := range all {
		if all[i].kind == unix.RTN_LOCAL {
			some = append(some, &all[i])
		}
	}
	return some
}

// reroute rereads the kernel's routes and rules and publishes the view of them with
// everything else unchanged.
func (t *Table) reroute() error {
	began := time.Now()
	s, before := *t.state, t.state.routes
	if err := t.kernel.reroute(&s); err != nil {
		return err
	}
	t.publishView(&s, began)
	if !sameLocals(before, s.routes) {
		t.tellLinkChange()
	}
	return nil
}

// publishView publishes the view of s, whose reading started at began.
func (t *Table) publishView(s *state, began time.Time) *view {
	v := newView(s, t.view.Load())
	v.took = time.Since(began)
	t.mu.Lock()
	t.state = s
	t.view.Store(v)
	clear(t.routeAnswers)
	clear(t.answerPaths)
	t.sweep(v)
	t.relink(v)
	t.mu.Unlock()
	t.changed()
	t.hostChanged.Store(true)
	return v
}

package neigh

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// kernel is what a Table needs from the kernel.
type kernel interface {
	// load reads links, addresses, routes, rules and switches.
	load() (*state, error)
	// reroute reads routes and rules into s, which has the rest already.
	reroute(s *state) error
	// entries reads the neighbour tables.
	entries() ([]kernelEntry, error)
	// route asks for the route to an address.
	route(dst netip.Addr) (route, error)
	// inputs reads the sysctls that decide what the host accepts, by link.
	inputs() (map[int]inputs, error)
	// admits asks whether the host accepts a packet that arrived on a link.
	admits(src, dst netip.Addr, link int) error
	// follow reports changes until ctx is done or the kernel is closed.
	follow(ctx context.Context) <-chan event
	// listen makes a link receive frames for an IPv6 group, or stops it.
	listen(link int, group netip.Addr, on bool) error
	// setEntry adds an entry to the host's neighbour table, or removes it.
	setEntry(n key, mac [6]byte, on bool) error
	close() error
}

// event is a change of the kernel's state.
type event struct {
	reload  bool // something load reads has changed, perhaps without notice about the routes
	reroute bool // routes or rules have changed
	resync  bool // changes were lost: reread everything
	entries []kernelEntry
}

// groups of rtnetlink(7) that are followed.
var rtnetlinkGroups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF,
}

// rtnetlink is the kernel, through sockets of one network namespace.
type rtnetlink struct {
	handle  *netlink.Handle
	asking  map[int]*nl.SocketHandle // for requests the library has no call for
	news    *nl.NetlinkSocket
	all     allSysctls
	mu      sync.Mutex
	groups  int // packet socket that holds memberships, -1 if closed
	groups6 int // UDP socket that does
}

func openKernel() (_ *rtnetlink, err error) {
	k := &rtnetlink{groups: -1, groups6: -1}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	if k.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	k.asking = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	if k.news, err = nl.Subscribe(unix.NETLINK_ROUTE, rtnetlinkGroups...); err != nil {
		return nil, err
	}
	// A burst of changes, say a flap of a full routing table, must fit; what does not fit
	// is found by rereading everything.
	if k.news.SetReceiveBufferSize(4<<20, true) != nil {
		_ = k.news.SetReceiveBufferSize(4<<20, false)
	}
	k.all = openAllSysctls()
	// Protocol 0 receives nothing. Memberships end with the socket, packet(7).
	if k.groups, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	k.groups6, _ = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return k, nil
}

func (k *rtnetlink) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.handle != nil {
		k.handle.Close()
	}
	for _, s := range k.asking {
		s.Close()
	}
	if k.news != nil {
		k.news.Close()
	}
	k.all.close()
	for _, fd := range []*int{&k.groups, &k.groups6} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
	k.handle, k.asking, k.news, k.all = nil, nil, nil, nil
	return nil
}

// listen joins the group as any host does, so that switches which watch MLD reports
// (RFC 4541) forward its frames to us. Where the kernel does not do that, because IPv6
// is off on the link or the socket has joined too many, at least the network card is
// told.
func (k *rtnetlink) listen(link int, group netip.Addr, on bool) error {
	join, add := unix.IPV6_LEAVE_GROUP, unix.PACKET_DROP_MEMBERSHIP
	if on {
		join, add = unix.IPV6_JOIN_GROUP, unix.PACKET_ADD_MEMBERSHIP
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	m6 := unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(link)}
	if unix.SetsockoptIPv6Mreq(k.groups6, unix.IPPROTO_IPV6, join, &m6) == nil {
		return nil
	}
	mac := groupMAC(group)
	m := unix.PacketMreq{Ifindex: int32(link), Type: unix.PACKET_MR_MULTICAST, Alen: uint16(len(mac))}
	copy(m.Address[:], mac[:])
	return unix.SetsockoptPacketMreq(k.groups, unix.SOL_PACKET, add, &m)
}

// retryDump repeats a dump that changed while it was read.
func retryDump[T any](read func() ([]T, error)) ([]T, error) {
	for range 8 {
		list, err := read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	return nil, netlink.ErrDumpInterrupted
}

func (k *rtnetlink) load() (*state, error) {
	var s state
	links, err := retryDump(k.handle.LinkList)
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		s.links = append(s.links, k.link(l, links))
	}
	addrs, err := retryDump(func() ([]netlink.Addr, error) { return k.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		s.addrs = append(s.addrs, addressOf(a))
	}
	s.forwarding4 = k.forwarding(unix.AF_INET)
	s.forwarding6 = k.forwarding(unix.AF_INET6)
	if s.inputs, err = k.inputs(); err != nil {
		return nil, err
	}
	return &s, k.reroute(&s)
}

func (k *rtnetlink) reroute(s *state) error {
	s.routes, s.rules = nil, nil
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		routes, err := retryDump(func() ([]netlink.Route, error) {
			return k.handle.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_TABLE)
		})
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return err
		}
		for i := range routes {
			if r, ok := routeOf(&routes[i]); ok {
				s.routes = append(s.routes, r)
			}
		}
		rules, err := retryDump(func() ([]rule, error) { return k.rules(family) })
		if err != nil {
			return err
		}
		s.rules = append(s.rules, rules...)
	}
	return nil
}

func (k *rtnetlink) entries() ([]kernelEntry, error) {
	list, err := retryDump(func() ([]netlink.Neigh, error) { return k.handle.NeighList(0, netlink.FAMILY_ALL) })
	var out []kernelEntry
	for i := range list {
		if e, ok := entryOf(&list[i]); ok {
			out = append(out, e)
		}
	}
	return out, err
}

func (k *rtnetlink) route(dst netip.Addr) (route, error) {
	routes, err := k.handle.RouteGet(net.IP(dst.AsSlice()))
	if err != nil || len(routes) == 0 {
		return route{}, err
	}
	r, _ := routeOf(&routes[0])
	return r, nil
}

// follow reads the subscription in a goroutine of its own.
func (k *rtnetlink) follow(ctx context.Context) <-chan event {
	events := make(chan event, 64)
	news := k.news
	context.AfterFunc(ctx, news.Close)
	go func() {
		defer close(events)
		for {
			messages, from, err := news.Receive()
			var e event
			switch {
			case errors.Is(err, unix.ENOBUFS):
				e.resync, e.reload = true, true
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil:
				return
			case from.Pid != nl.PidKernel:
				continue
			}
			for i := range messages {
				e.add(&messages[i])
			}
			if !e.reload && !e.reroute && len(e.entries) == 0 {
				continue
			}
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
	}()
	return events
}

func (e *event) add(m *syscall.NetlinkMessage) {
	switch m.Header.Type {
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		n, err := netlink.NeighDeserialize(m.Data)
		if err != nil {
			return
		}
		if entry, ok := entryOf(n); ok {
			entry.valid = entry.valid && m.Header.Type == unix.RTM_NEWNEIGH
			e.entries = append(e.entries, entry)
		}
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWRULE, unix.RTM_DELRULE:
		e.reroute = true
	case unix.NLMSG_NOOP, unix.NLMSG_DONE, unix.NLMSG_ERROR:
	default:
		e.reload = true
	}
}

// tellOverrun says that changes came faster than they could be read, once a minute at
// most.
func (t *Table) tellOverrun(e event) {
	if !e.resync || t.now.Before(t.overrunQuiet) {
		return
	}
	t.overrunQuiet = t.now.Add(time.Minute)
	t.cfg.Log.Warn("the network changed faster than netlink tells: links, addresses, routes and neighbours are read anew", "event", "netlink-overrun")
}

// resync makes the neighbours agree with the kernel's whole table.
func (t *Table) resync() error {
	list, err := t.kernel.entries()
	if err != nil {
		return err
	}
	seen := make(map[key]bool, len(list))
	for _, e := range list {
		seen[e.key] = e.valid
		t.followEntry(e)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, n := range t.neighbours {
		if n.kernel && !seen[k] {
			t.kernelLost(n)
		}
	}
	return nil
}

// valid holds the states in which the kernel uses an entry (NUD_VALID).
const valid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE |
	unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

func entryOf(n *netlink.Neigh) (e kernelEntry, ok bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok || n.Family != unix.AF_INET && n.Family != unix.AF_INET6 || n.Flags&netlink.NTF_PROXY != 0 {
		return e, false
	}
	e.key = key{n.LinkIndex, addr.Unmap()}
	if len(n.HardwareAddr) == 6 && n.State&valid != 0 {
		e.mac = [6]byte(n.HardwareAddr)
		e.valid = unicast(e.mac)
	}
	e.permanent = n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0
	e.confirmed = n.State&unix.NUD_REACHABLE != 0
	e.changed = e.confirmed || n.State&unix.NUD_STALE != 0
	return e, true
}

func addressOf(a netlink.Addr) address {
	const deprecated, tentative, duplicate = unix.IFA_F_DEPRECATED, unix.IFA_F_TENTATIVE, unix.IFA_F_DADFAILED
	ip, _ := netip.AddrFromSlice(a.IP)
	ones, _ := a.Mask.Size()
	if a.Peer != nil {
		// The network is the peer's; a host's address alone is no network.
		ones = ip.BitLen()
	}
	return address{
		link:      a.LinkIndex,
		prefix:    netip.PrefixFrom(ip.Unmap(), ones),
		scope:     a.Scope,
		secondary: a.Flags&unix.IFA_F_SECONDARY != 0,
		unusable:  a.Flags&(tentative|duplicate) != 0 && a.Flags&unix.IFA_F_OPTIMISTIC == 0,
		old:       a.Flags&deprecated != 0,
	}
}

// link converts the library's link to ours. all is needed to judge its master.
func (k *rtnetlink) link(l netlink.Link, all []netlink.Link) Link {
	a := l.Attrs()
	out := Link{
		Index: a.Index, Name: a.Name, Kind: l.Type(), MTU: a.MTU,
		Up:       a.RawFlags&unix.IFF_UP != 0,
		Running:  a.RawFlags&unix.IFF_UP != 0 && a.RawFlags&unix.IFF_LOWER_UP != 0,
		Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
		NoARP:    a.RawFlags&unix.IFF_NOARP != 0,
		Ethernet: a.EncapType == "ether" && len(a.HardwareAddr) == 6,
		Bare:     bareTypes[a.EncapType],
		Master:   a.MasterIndex,
	}
	if len(a.HardwareAddr) == 6 {
		out.MAC = [6]byte(a.HardwareAddr)
	}
	if v, ok := l.(*netlink.Vlan); ok {
		out.Parent, out.VLAN = a.ParentIndex, uint16(v.VlanId)
	}
	if a.MasterIndex != 0 {
		i := slices.IndexFunc(all, func(m netlink.Link) bool { return m.Attrs().Index == a.MasterIndex })
		out.port = i < 0 || all[i].Type() != "vrf" // the members of a VRF keep their addresses
	}
	return out
}

package neigh

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// hostEntryRefresh keeps an entry reachable, which it stays for at least half of
	// base_reachable_time_ms, 15 s (arp(7)).
	hostEntryRefresh = 10 * time.Second
	// maxHostEntries limits how many entries are added to the host's neighbour table, which holds
	// 1024 by default (gc_thresh3), for all neighbours.
	maxHostEntries = 256
	// hostPauseFactor is how many times longer than adding the entries took Run waits before it
	// does so again: with many addresses and many changes it has other work.
	hostPauseFactor = 20
)

// updateHostEntries lets the host reach the owned addresses that are not its own, if
// Config.HostEntries is set. The host's requests for them go out on the wire, where nobody
// replies, and the director cannot answer what it does not receive. So the host's
// neighbour table gets entries that map them to the interface's own MAC address, as a
// reply would have done. The guard redirects what is then sent there to the director.
// The entries age: those that a killed director leaves are found wrong within seconds
// of use. It returns when it is due again and is for Run only.
func (t *Table) updateHostEntries() time.Time {
	if !t.cfg.HostEntries {
		return time.Time{}
	}
	if t.now.Before(t.hostNotBefore) {
		return t.hostNotBefore
	}
	if !t.hostChanged.Swap(false) && t.now.Before(t.hostDue) {
		return t.hostDue
	}
	began := time.Now()
	defer func() { t.hostNotBefore = t.now.Add(hostPauseFactor * time.Since(began)) }()
	want := t.wantedHostEntries()
	for k := range t.hostEntries {
		if _, ok := want[k]; !ok {
			_ = t.kernel.setEntry(k, [6]byte{}, false)
		}
	}
	for k, mac := range want {
		if err := t.kernel.setEntry(k, mac, true); err != nil {
			t.cfg.Log.Debug("telling the host of an address", "addr", k.addr, "err", err)
		}
	}
	t.hostEntries = want
	t.hostDue = t.now.Add(hostEntryRefresh)
	return t.hostDue
}

// wantedHostEntries returns the owned addresses that would be the host's
// neighbours, and the MAC addresses they have.
func (t *Table) wantedHostEntries() map[key][6]byte {
	all := map[key][6]byte{}
	for _, a := range slices.SortedFunc(t.ownedAddrs(), netip.Addr.Compare) {
		w := t.route(a)
		if w == nil || w.direct || w.gateway.IsValid() {
			continue
		}
		if len(all) == maxHostEntries {
			if !t.hostFull {
				t.hostFull = true
				t.cfg.Log.Warn("the host itself reaches only some of the virtual addresses; give it the others", "addresses", maxHostEntries)
			}
			break
		}
		all[key{w.link, a}] = w.mac
	}
	return all
}

// LeaveHostEntries leaves the entries to the next director at the end of Run, which renews
// them.
func (t *Table) LeaveHostEntries() { t.leaveEntries.Store(true) }

// RemoveHostEntries removes the entries that a killed director has left in the host's
// neighbour table, and returns their addresses. They are those that say of an address which
// is not the host's own that it is at the interface itself.
func RemoveHostEntries() (removed []netip.Addr, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("neigh: list the interfaces: %w", err)
	}
	for _, l := range links {
		own := l.Attrs().HardwareAddr
		entries, err := netlink.NeighList(l.Attrs().Index, netlink.FAMILY_ALL)
		if err != nil || len(own) != 6 || l.Attrs().Flags&net.FlagLoopback != 0 {
			continue
		}
		for i := range entries {
			e := &entries[i]
			addr, ok := netip.AddrFromSlice(e.IP)
			ours := ok && bytes.Equal(e.HardwareAddr, own) && e.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) == 0
			if ours && netlink.NeighDel(e) == nil {
				removed = append(removed, addr.Unmap())
			}
		}
	}
	return removed, nil
}

// removeHostEntries removes the entries that updateHostEntries made.
func (t *Table) removeHostEntries() {
	if t.leaveEntries.Load() {
		return
	}
	for k := range t.hostEntries {
		_ = t.kernel.setEntry(k, [6]byte{}, false)
	}
	t.hostEntries = nil
}

// setEntry adds or removes an entry of the host's neighbour table, as if a request had just
// been answered.
func (k *rtnetlink) setEntry(n key, mac [6]byte, on bool) error {
	e := &netlink.Neigh{LinkIndex: n.link, IP: n.addr.AsSlice(), State: unix.NUD_REACHABLE, HardwareAddr: mac[:]}
	if n.addr.Is4() {
		e.Family = unix.AF_INET
	} else {
		e.Family = unix.AF_INET6
	}
	if !on {
		return k.handle.NeighDel(e)
	}
	return k.handle.NeighSet(e)
}

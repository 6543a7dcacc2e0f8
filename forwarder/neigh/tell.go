package neigh

import (
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// tellEvery keeps an entry reachable, which it stays for at least half of
	// base_reachable_time_ms, 15 s (arp(7)).
	tellEvery = 10 * time.Second
	// maxTold limits how many entries are added to the host's neighbour table, which holds
	// 1024 by default (gc_thresh3), for all neighbours.
	maxTold = 256
	// tellShare is how many times longer than adding the entries took Run waits before it
	// does so again: with many addresses and many changes it has other work.
	tellShare = 20
)

// fillHost lets the host reach the owned addresses that are not its own, if
// Config.TellHost is set. The host's requests for them go out on the wire, where nobody
// replies, and the director cannot answer what it does not receive. So the host's
// neighbour table gets entries that map them to the interface's own MAC address, as a
// reply would have done. The guard redirects what is then sent there to the director.
// The entries age: those that a killed director leaves are found wrong within seconds
// of use. It returns when it is due again and is for Run only.
func (t *Table) fillHost() time.Time {
	if !t.cfg.TellHost {
		return time.Time{}
	}
	if t.now.Before(t.tellRest) {
		return t.tellRest
	}
	if !t.tellNow.Swap(false) && t.now.Before(t.tellAt) {
		return t.tellAt
	}
	began := time.Now()
	defer func() { t.tellRest = t.now.Add(tellShare * time.Since(began)) }()
	want := t.hostNeighbours()
	for k := range t.told {
		if _, ok := want[k]; !ok {
			_ = t.kernel.tell(k, [6]byte{}, false)
		}
	}
	for k, mac := range want {
		if err := t.kernel.tell(k, mac, true); err != nil {
			t.cfg.Log.Debug("telling the host of an address", "addr", k.addr, "err", err)
		}
	}
	t.told = want
	t.tellAt = t.now.Add(tellEvery)
	return t.tellAt
}

// hostNeighbours returns the owned addresses that would be the host's
// neighbours, and the MAC addresses they have.
func (t *Table) hostNeighbours() map[key][6]byte {
	all := map[key][6]byte{}
	for _, a := range slices.SortedFunc(t.ownedAddrs(), netip.Addr.Compare) {
		w := t.route(a)
		if w == nil || w.direct || w.gateway.IsValid() {
			continue
		}
		if len(all) == maxTold {
			if !t.toldMost {
				t.toldMost = true
				t.cfg.Log.Warn("the host itself reaches only some of the virtual addresses; give it the others", "addresses", maxTold)
			}
			break
		}
		all[key{w.link, a}] = w.mac
	}
	return all
}

// clearHost removes the entries that fillHost made.
func (t *Table) clearHost() {
	for k := range t.told {
		_ = t.kernel.tell(k, [6]byte{}, false)
	}
	t.told = nil
}

// tell adds or removes an entry of the host's neighbour table, as if a request had just
// been answered.
func (k *rtnetlink) tell(n key, mac [6]byte, on bool) error {
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

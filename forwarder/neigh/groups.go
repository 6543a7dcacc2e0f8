package neigh

import "net/netip"

// joinGroups makes the links listen to the solicited-node groups of the owned IPv6
// addresses, and to no others. Without them a network card does not receive the
// solicitations.
func (t *Table) joinGroups() {
	want := make(map[key]bool)
	for a := range t.ownedAddrs() {
		t.groupsOf(a, func(k key) { want[k] = true })
	}
	t.groupMu.Lock()
	defer t.groupMu.Unlock()
	for k := range t.groups {
		if !want[k] {
			_ = t.kernel.listen(k.link, k.addr, false)
			delete(t.groups, k)
		}
	}
	for k := range want {
		t.join(k)
	}
}

// joinGroupsOf is joinGroups for addresses that have been added.
func (t *Table) joinGroupsOf(addrs []netip.Addr) {
	t.groupMu.Lock()
	defer t.groupMu.Unlock()
	for _, a := range addrs {
		t.groupsOf(a, t.join)
	}
}

// groupsOf calls f for each group on each link that an address needs.
func (t *Table) groupsOf(a netip.Addr, f func(key)) {
	if a.Is4() {
		return
	}
	for _, l := range t.Links() {
		if l.Ethernet {
			f(key{l.Index, solicitedNode(a)})
		}
	}
}

// join makes a link listen to a group. The caller holds groupMu.
func (t *Table) join(k key) {
	if t.groups[k] {
		return
	}
	if err := t.kernel.listen(k.link, k.addr, true); err != nil {
		t.cfg.Log.Warn("listening to a group", "link", t.view.Load().name(k.link), "group", k.addr, "err", err)
		return
	}
	t.groups[k] = true
}

func (v *view) name(index int) string {
	if l := v.links[index]; l != nil {
		return l.Name
	}
	return "?"
}

package neigh

// joinGroups makes the links listen to the solicited-node groups of the owned
// IPv6 addresses, without which a network card does not hear the questions.
func (t *Table) joinGroups() {
	want := make(map[key]bool)
	for a := range *t.owned.Load() {
		if a.Is4() {
			continue
		}
		for _, l := range t.Links() {
			if !l.Ethernet {
				continue
			}
			want[key{l.Index, solicitedNode(a)}] = true
		}
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
		if t.groups[k] {
			continue
		}
		if err := t.kernel.listen(k.link, k.addr, true); err != nil {
			t.cfg.Log.Warn("listening to a group", "link", t.view.Load().name(k.link), "group", k.addr, "err", err)
			continue
		}
		t.groups[k] = true
	}
}

func (v *view) name(index int) string {
	if l := v.links[index]; l != nil {
		return l.Name
	}
	return "?"
}

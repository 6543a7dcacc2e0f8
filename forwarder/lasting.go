package forwarder

// What the plan covers follows from the connections that live, not from the
// configuration alone: servers that were removed or have another method now, and
// local addresses that no service has any more.

// outdated reports whether the last plan covers what no connection needs any more,
// or lacks what one needs that began meanwhile.
func (fw *Forwarder) outdated() bool {
	last := fw.view.Load()
	return fw.Table.Miscovers() || last.Misses(fw.locals.InUse()) ||
		fw.leadsHost() && !last.KnowsLeft(fw.Table.Leftovers())
}

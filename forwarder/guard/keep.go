package guard

import (
	"slices"

	"uvs/internal/fdstore"
)

// keptPrefix begins the names under which the sockets are kept that own a table; the name of
// the table follows.
const keptPrefix = "guard-"

// chooseName returns the name for a new table. If two are kept, an earlier process ended
// between Keep and what follows from it: both have all its rules, and one will do.
func (g *Guard) chooseName() string {
	if kept := g.store.Names(keptPrefix); len(kept) == len(tableNames) {
		_ = g.store.Forget(kept[1])
	}
	kept := g.store.Names(keptPrefix)
	for _, name := range tableNames {
		if !slices.Contains(kept, keptPrefix+name) {
			return name
		}
	}
	return tableNames[0]
}

// Keep says that all rules are set. From now on the store keeps this table, no longer the
// one of the process before.
func (g *Guard) Keep() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keeps = true
	if g.conn != nil {
		g.keep()
	}
}

func (g *Guard) keep() {
	if g.store == nil {
		return
	}
	own := keptPrefix + g.table.Name
	if err := g.store.Keep(own, g.nl); err != nil {
		g.log.Warn("the guard will open while no director runs", "err", err)
	}
	forget(g.store, own)
}

// forget lets the tables go that are kept, but one.
func forget(store *fdstore.Store, but string) {
	for _, name := range store.Names(keptPrefix) {
		if name != but {
			_ = store.Forget(name)
		}
	}
}

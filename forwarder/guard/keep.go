package guard

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"

	"uvs/internal/fdstore"
)

// KeptPrefix begins the names in a store under which the sockets are kept that own a table; the name of
// the table follows.
const KeptPrefix = "guard-"

// chooseName returns the name for a new table. If two are kept, an earlier process ended
// between Keep and what follows from it: both have all its rules, and one will do.
func (g *Guard) chooseName() string {
	if kept := g.store.Names(KeptPrefix); len(kept) == len(tableNames) {
		_ = g.store.Forget(kept[1])
	}
	kept := g.store.Names(KeptPrefix)
	for _, name := range tableNames {
		if !slices.Contains(kept, KeptPrefix+name) {
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
	own := KeptPrefix + g.table.Name
	if err := g.store.Keep(own, g.nl); err != nil {
		g.log.Warn("the guard will open while no director runs", "err", err)
	}
	forget(g.store, own)
}

// forget lets the tables go that are kept, but one.
func forget(store *fdstore.Store, but string) {
	for _, name := range store.Names(KeptPrefix) {
		if name != but {
			_ = store.Forget(name)
		}
	}
}

// Remove removes the tables that directors have left in this network namespace, and returns
// their families and names. The kernel removes a table when nobody holds its socket any more: where one is
// there, somebody does, which is the error.
func Remove() (removed []string, err error) {
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		more, err := removeTables()
		removed = append(removed, more...)
		if silent, failed := removeSilence(); silent && failed == nil {
			removed = append(removed, "inet "+silenceName)
		}
		if err == nil || time.Since(began) > ownerGone {
			return removed, err
		}
	}
}

func removeTables() (removed []string, err error) {
	c := &nftables.Conn{}
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyNetdev)
	if err != nil {
		return nil, nil // a kernel without nftables has none
	}
	for _, t := range tables {
		if !slices.Contains(tableNames, t.Name) {
			continue
		}
		c.DelTable(t)
		if err := c.Flush(); err != nil {
			return removed, fmt.Errorf("guard: the table netdev %s belongs to a process, or to systemd: stop that (systemctl stop uvs): %w", t.Name, err)
		}
		removed = append(removed, "netdev "+t.Name)
	}
	return removed, nil
}

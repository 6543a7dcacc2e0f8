package guard

import (
	"errors"

	"github.com/google/nftables"
)

// ErrLost is returned by Check.
var ErrLost = errors.New("guard: the nftables table is gone")

// Check returns ErrLost if there is no table, and there is none then until Set. Only the
// kernel's owner of the table can remove it, which no tool can pretend to be: `nft flush
// ruleset` leaves it out. So this is for kernels that think otherwise, and for a Set that
// failed.
func (g *Guard) Check() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn == nil {
		return ErrLost
	}
	tables, err := g.conn.ListTablesOfFamily(nftables.TableFamilyNetdev)
	if err != nil {
		return nil // nothing is known
	}
	for _, t := range tables {
		if t.Name == g.table.Name {
			return nil
		}
	}
	_ = g.closeTable()
	return ErrLost
}

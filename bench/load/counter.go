package load

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// counter counts the UDP, IP-in-IP and TCP packets that arrive at an interface, and
// drops them there: behind the packet sockets and before the host's stack. It
// costs the forwarder, whose system call delivers the frame, some 100 ns and
// the same for all targets; a stack that looked for a receiver cost several
// times that.
type counter struct {
	conn  *nftables.Conn
	table *nftables.Table
	chain *nftables.Chain
}

// countedProtocols are those of generated frames, and of what a tunnel makes of
// them.
var countedProtocols = []byte{unix.IPPROTO_UDP, unix.IPPROTO_IPIP, unix.IPPROTO_TCP}

// newCounter makes a counter in the network namespace of the calling thread. It
// goes with Close, or with the namespace.
func newCounter(link string) (*counter, error) {
	conn, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("bench: nftables: %w", err)
	}
	c := &counter{conn: conn}
	c.table = conn.AddTable(&nftables.Table{Name: "bench-" + link, Family: nftables.TableFamilyNetdev})
	policy := nftables.ChainPolicyAccept
	c.chain = conn.AddChain(&nftables.Chain{
		Name: "arrived", Table: c.table, Type: nftables.ChainTypeFilter, Policy: &policy,
		Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter, Device: link,
	})
	for _, proto := range countedProtocols {
		conn.AddRule(&nftables.Rule{Table: c.table, Chain: c.chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
			&expr.Counter{},
			&expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	if err := conn.Flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("bench: count on %s: %w", link, err), conn.CloseLasting())
	}
	return c, nil
}

// Packets returns how many have arrived since the counter was made.
func (c *counter) Packets() (uint64, error) {
	rules, err := c.conn.GetRules(c.table, c.chain)
	if err != nil {
		return 0, fmt.Errorf("bench: read counter: %w", err)
	}
	var n uint64
	for _, r := range rules {
		for _, e := range r.Exprs {
			if k, ok := e.(*expr.Counter); ok {
				n += k.Packets
			}
		}
	}
	return n, nil
}

// Close removes the counter: the stack sees the packets again.
func (c *counter) Close() error {
	c.conn.DelTable(c.table)
	return errors.Join(c.conn.Flush(), c.conn.CloseLasting())
}

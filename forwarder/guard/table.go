package guard

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// tableNames are the names of tables. A process takes the one that the table of the process
// before does not have.
var tableNames = []string{"uvs", "uvs2"}

const (
	owner = 2 // NFT_TABLE_F_OWNER, linux/netfilter/nf_tables.h

	perMessage = 1000 // elements; an attribute holds 64 KiB
	perBatch   = 6000 // elements; an unprivileged socket sends some 400 KiB at once
	perRule    = 20   // elements that are as large as a rule of a Match

	// The table of a killed director disappears some 0.3 s after it.
	ownerGone = 3 * time.Second
)

// open connects, and creates the table with its sets and rules.
func (g *Guard) open() error {
	var nl *netlink.Conn
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(c *netlink.Conn) error {
		nl = c
		return nil
	}))
	if err != nil {
		return unavailable("nftables", err)
	}
	_ = nl.SetWriteBuffer(8 << 20)
	_ = nl.SetReadBuffer(8 << 20)
	name := g.chooseName()
	taken := func() bool { return g.othersGuard(conn) }
	add := func() error {
		if taken() {
			return ErrGuarded
		}
		return addOwnedTable(nl, name)
	}
	if err := createTable(add, taken); err != nil {
		_ = conn.CloseLasting()
		return err
	}
	g.conn, g.nl, g.have, g.marks, g.links, g.redirecting = conn, nl, elements{}, [2]marks{}, map[string]int{}, false
	g.table = &nftables.Table{Name: name, Family: nftables.TableFamilyNetdev}
	g.sets = makeSets(g.table)
	if err := g.initTable(); err != nil {
		_ = g.closeTable()
		return unavailable("nftables rules (nf_tables_netdev, nft_fib_netdev)", err)
	}
	g.addHostChains()
	return nil
}

// createTable creates the table with add. If taken sees the table of an earlier process, it
// waits for that to disappear. It may disappear between the two requests: only if add
// fails twice in a row without such a table is there another reason.
func createTable(add func() error, taken func() bool) error {
	unexplained := 0
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := add()
		if err == nil {
			return nil
		}
		unexplained++
		if taken() {
			unexplained = 0
		}
		switch {
		case unexplained == 2:
			return unavailable("an nftables table of its own", err)
		case time.Since(began) > ownerGone:
			return fmt.Errorf("guard: %w", ErrGuarded)
		}
	}
}

// othersGuard reports whether there is a table of our names that is not a kept one. A kernel
// asked to add one that another process owns returns only EPERM.
func (g *Guard) othersGuard(conn *nftables.Conn) bool {
	kept := g.store.Names(KeptPrefix)
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyNetdev)
	return err == nil && slices.ContainsFunc(tables, func(t *nftables.Table) bool {
		return slices.Contains(tableNames, t.Name) && !slices.Contains(kept, KeptPrefix+t.Name)
	})
}

// addOwnedTable sends what the library cannot: a table with flags.
func addOwnedTable(nl *netlink.Conn, name string) error {
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_TABLE_NAME, Data: []byte(name + "\x00")},
		{Type: unix.NFTA_TABLE_FLAGS, Data: []byte{0, 0, 0, owner}},
	})
	if err != nil {
		return err
	}
	mark := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
	head := []byte{unix.NFPROTO_NETDEV, unix.NFNETLINK_V0, 0, 0}
	_, err = nl.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: mark},
		{Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE,
			Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Excl,
		}, Data: append(head, attrs...)},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: mark},
	})
	if err != nil {
		return err
	}
	_, err = nl.Receive()
	return err
}

// initTable adds everything but the links. The hook is tried out on the loopback
// interface, so that a kernel without it is detected at the start.
func (g *Guard) initTable() error {
	firstFragments := makeFirstFragments(g.table)
	for _, s := range append(g.sets[:], firstFragments[:]...) {
		if err := g.conn.AddSet(s, nil); err != nil {
			return err
		}
	}
	chains := map[string]*nftables.Chain{}
	for _, name := range []string{chainMarks, chainMarks6, chainMarkErrors, chainMarkErrors6, chainICMP, chainICMP6, chainFragments[0], chainFragments[1], chainIP, chainIP6} {
		chains[name] = g.conn.AddChain(&nftables.Chain{Table: g.table, Name: name})
	}
	g.addRules(chains[chainICMP], layout4.errorRules())
	g.addRules(chains[chainICMP6], layout6.errorRules())
	g.addRules(chains[chainFragments[0]], layout4.fragments())
	g.addRules(chains[chainFragments[1]], layout6.fragments())
	g.addRules(chains[chainIP], layout4.packets())
	g.addRules(chains[chainIP6], layout6.packets())
	g.addLink("lo")
	if err := g.conn.Flush(); err != nil {
		return err
	}
	g.conn.DelChain(g.linkChain("lo"))
	return g.conn.Flush()
}

func (g *Guard) linkChain(name string) *nftables.Chain {
	return &nftables.Chain{Table: g.table, Name: "on-" + name}
}

// addLink adds the chain of a link, which begins with the rules in first.
func (g *Guard) addLink(name string, first ...[]expr.Any) {
	c := g.linkChain(name)
	policy := nftables.ChainPolicyAccept
	c.Hooknum, c.Priority = nftables.ChainHookIngress, nftables.ChainPriorityFilter
	c.Type, c.Device, c.Policy = nftables.ChainTypeFilter, name, &policy
	g.conn.AddChain(c)
	g.addRules(c, append(first, entry()...))
}

// change makes the table agree with want and with the links.
func (g *Guard) change(want elements, r *Rules) error {
	links := indexes(r.Links)
	if err := g.changeLinks(links, r.Host); err != nil {
		return err
	}
	if err := g.changeMarks(r.Marks); err != nil {
		return err
	}
	var more, fewer [numSets][]nftables.SetElement
	for i := range g.sets {
		more[i], fewer[i] = differences(want[i], g.have[i]), differences(g.have[i], want[i])
	}
	if err := g.putAll(more, g.conn.SetAddElements); err != nil {
		return err
	}
	if err := g.putAll(fewer, g.conn.SetDeleteElements); err != nil {
		return err
	}
	if err := g.flush(); err != nil {
		return err
	}
	g.have, g.links, g.redirecting = want, links, r.Host
	return nil
}

// putAll adds elements to their sets or removes them.
func (g *Guard) putAll(lists [numSets][]nftables.SetElement, what func(*nftables.Set, []nftables.SetElement) error) error {
	for set, list := range lists {
		for part := range slices.Chunk(list, perMessage) {
			if err := g.makeRoom(len(part)); err != nil {
				return err
			}
			g.Work += len(part)
			if err := what(g.sets[set], part); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeRoom sends what is pending if n more elements would be too many for one batch.
func (g *Guard) makeRoom(n int) error {
	if g.pending += n; g.pending <= perBatch {
		return nil
	}
	err := g.conn.Flush()
	g.pending = n
	return err
}

// flush sends what is pending.
func (g *Guard) flush() error {
	g.pending = 0
	return g.conn.Flush()
}

// changeLinks removes the chains of links that were removed, renamed or recreated, and
// adds missing ones. Kernels differ in what happens to a chain whose interface
// disappears, so it compares with the chains that exist.
func (g *Guard) changeLinks(links map[string]int, host bool) error {
	same := len(links) == len(g.links) && host == g.redirecting
	for name, index := range links {
		same = same && g.links[name] == index
	}
	if same {
		return nil
	}
	chains, err := g.conn.ListChainsOfTableFamily(nftables.TableFamilyNetdev)
	if err != nil {
		return err
	}
	exists := map[string]bool{}
	for _, c := range chains {
		exists[c.Name] = c.Table.Name == g.table.Name || exists[c.Name]
	}
	for name, index := range g.links {
		if links[name] != index && exists[g.linkChain(name).Name] {
			g.conn.DelChain(g.linkChain(name))
		}
	}
	for name, index := range links {
		if g.links[name] != index || !exists[g.linkChain(name).Name] {
			g.addLink(name)
		}
	}
	g.changeHost(links, host, exists)
	return nil
}

// indexes returns those of the named interfaces that exist. (Package net would read all
// interfaces for each.)
func indexes(names []string) map[string]int {
	out := make(map[string]int, len(names))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return out
	}
	defer unix.Close(fd)
	for _, name := range names {
		r, err := unix.NewIfreq(name)
		if err == nil && unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r) == nil {
			out[name] = int(r.Uint32())
		}
	}
	return out
}

// unavailable says why, as far as the kernel reveals it.
func unavailable(what string, err error) error {
	why := "the kernel refuses"
	switch {
	case errors.Is(err, unix.EPERM):
		why = "CAP_NET_ADMIN is missing for"
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.ENOPROTOOPT):
		why = "the kernel has no"
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
		why = "the kernel is too old (before 5.12) or built without"
	}
	return fmt.Errorf("guard: %w: %s %s: %w", ErrUnavailable, why, what, err)
}

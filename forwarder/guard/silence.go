package guard

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// silenceName is the name of the table of Silence, of the inet family.
const silenceName = "uvs-silence"

// silenceSets are how many of the sets that table has: those about requests.
const silenceSets = addresses + 2

// Silence keeps the host's own stack from refusing requests to virtual services that no
// director serves at the moment. While a host has a virtual address its stack resets clients of
// services that it does not know, which the guard prevents only as long as a process or a store
// holds it. Of two directors one may die: until VRRP has moved the address, nobody may answer.
//
// So this table belongs to nobody, outlives the process and every store, and drops what is
// delivered to the host itself for these endpoints, but on the loopback interface. Without
// endpoints there is no table. except is an interface that brings the host what the director
// delivers, and may be empty.
func (g *Guard) Silence(endpoints []Tuple, marks []Match, except string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	conn := &nftables.Conn{}
	table := &nftables.Table{Name: silenceName, Family: nftables.TableFamilyINet}
	conn.AddTable(table) // so that there is one to delete
	conn.DelTable(table)
	g.silenced = silencedAddrs(endpoints, marks)
	if len(g.silenced) == 0 {
		return silenceError(conn.Flush())
	}
	conn.AddTable(table)
	all := makeSets(table)
	sets := all[:silenceSets]
	for _, s := range sets {
		if err := conn.AddSet(s, nil); err != nil {
			return silenceError(err)
		}
	}
	policy := nftables.ChainPolicyAccept
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "input", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &policy})
	for _, e := range silenceRules(marks, except) {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: e})
	}
	return silenceError(fillSilence(conn, sets, endpoints))
}

// fillSilence adds the elements, and sends all.
func fillSilence(conn *nftables.Conn, sets []*nftables.Set, endpoints []Tuple) error {
	want := (&Rules{Virtual: endpoints}).elements()
	pending := 0
	for i, s := range sets {
		for part := range slices.Chunk(differences(want[i], nil), perMessage) {
			if pending += len(part); pending > perBatch {
				if err := conn.Flush(); err != nil {
					return err
				}
				pending = len(part)
			}
			if err := conn.SetAddElements(s, part); err != nil {
				return err
			}
		}
	}
	return conn.Flush()
}

// silenceRules are the rules of the chain: packets on loopback interfaces pass, those to
// endpoints and those that matches are about do not.
func silenceRules(marks []Match, except string) (rules [][]expr.Any) {
	for _, name := range []string{loopback, except} {
		if name != "" {
			rules = append(rules, join([]expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg0}, equal(reg0, interfaceName(name)...)}, accept))
		}
	}
	for _, l := range []*layout{&layout4, &layout6} {
		for _, set := range []int{virtual, protocols, addresses} {
			rules = append(rules, join(l.ofFamily(), l.in(set, l.dst, 2), drop))
		}
		for i := range marks {
			if m := &marks[i]; m.Six == (l.six == 1) {
				rules = append(rules, join(l.ofFamily(), l.about(m), drop))
			}
		}
	}
	return rules
}

// interfaceName returns a name as the kernel compares it: 16 bytes.
func interfaceName(name string) []byte {
	b := make([]byte, 16)
	copy(b, name)
	return b
}

// ofFamily matches the packets of the layout's IP version, in a table of both.
func (l *layout) ofFamily() []expr.Any {
	family := byte(nftables.TableFamilyIPv4)
	if l.six == 1 {
		family = byte(nftables.TableFamilyIPv6)
	}
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg0}, equal(reg0, family)}
}

// silencedAddrs returns the virtual addresses of endpoints and matches.
func silencedAddrs(endpoints []Tuple, marks []Match) map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	for _, t := range endpoints {
		all[t.Addr.Unmap()] = true
	}
	for _, m := range marks {
		all[m.Dst.Addr().Unmap()] = true
	}
	return all
}

func silenceError(err error) error {
	if err != nil {
		return fmt.Errorf("guard: keep the host silent: %w", err)
	}
	return nil
}

// Silent reports whether the table of Silence is there if it is to be: others can remove it.
func (g *Guard) Silent() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.silenced) == 0 || hasSilence()
}

func hasSilence() bool {
	tables, err := (&nftables.Conn{}).ListTablesOfFamily(nftables.TableFamilyINet)
	return err != nil || slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == silenceName })
}

// EndSilence removes the table of Silence at the end of a director, unless the host still has
// one of the addresses: whoever gave it has to take it away first.
func (g *Guard) EndSilence() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.silenced) == 0 {
		return
	}
	own, err := net.InterfaceAddrs()
	for _, a := range own {
		p, parse := netip.ParsePrefix(a.String())
		if parse == nil && g.silenced[p.Addr().Unmap()] {
			return
		}
	}
	if err == nil {
		_, _ = removeSilence()
	}
}

// removeSilence removes the table and reports whether there was one.
func removeSilence() (bool, error) {
	if !hasSilence() {
		return false, nil
	}
	conn := &nftables.Conn{}
	conn.DelTable(&nftables.Table{Name: silenceName, Family: nftables.TableFamilyINet})
	return true, silenceError(conn.Flush())
}

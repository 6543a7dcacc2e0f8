package guard

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
)

// What the host itself sends is redirected to the loopback interface at the netdev
// egress hook (Linux 5.16), where a packet socket sees it: for the host's stack it has
// been sent. Such a frame has a foreign destination MAC address and goes no further.
//
// Every other method needs a device, a route or a routing rule, all of which would
// outlive a killed director: frames dropped at egress or at the output hook are seen by
// no packet socket, and the drop is reported to the sender.

// Names of the chains for what the host sends.
const (
	chainOut      = "out"
	chainOut6     = "out6"
	chainErrs     = "out_icmp"
	chainErrs6    = "out_icmp6"
	chainRedirect = "redirect"
	loopback      = "lo"
	hookFeature   = "redirecting the host's own packets (egress hook, nft_fwd_netdev)"
)

// RedirectsHost reports whether the kernel supports Rules.Host. The result does not change
// during the life of the Guard.
func (g *Guard) RedirectsHost() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.canRedirect
}

// addHostChains adds the chains for what the host sends, and tries them out.
func (g *Guard) addHostChains() {
	err := g.addRedirect()
	if err == nil {
		for _, l := range []*layout{&layout4, &layout6} {
			out, errs := l.outChains()
			g.addRules(g.conn.AddChain(&nftables.Chain{Table: g.table, Name: errs}), l.errorsOut())
			g.addRules(g.conn.AddChain(&nftables.Chain{Table: g.table, Name: out}), l.out(errs))
		}
		g.addEgress(loopback)
		if err = g.conn.Flush(); err == nil {
			g.conn.DelChain(g.egressChain(loopback))
			err = g.conn.Flush()
		}
	}
	g.canRedirect = err == nil
	if err != nil {
		g.log.Warn("clients and translated servers on the director itself are not served", "err", unavailable(hookFeature, err))
	}
}

func (l *layout) outChains() (out, errs string) {
	if l.six == 1 {
		return chainOut6, chainErrs6
	}
	return chainOut, chainErrs
}

func (g *Guard) egressChain(name string) *nftables.Chain {
	return &nftables.Chain{Table: g.table, Name: "from-" + name}
}

// changeHost updates the chains of outgoing packets to those of the links and of the
// loopback interface.
func (g *Guard) changeHost(links map[string]int, host bool, exists map[string]bool) {
	for name, index := range g.links {
		chain := g.egressChain(name)
		if exists[chain.Name] && (!host || links[name] != index) {
			g.conn.DelChain(chain)
			exists[chain.Name] = false
		}
	}
	for name := range links {
		if host && !exists[g.egressChain(name).Name] {
			g.addEgress(name)
		}
	}
	switch here := exists[g.linkChain(loopback).Name]; {
	case host && !here:
		g.addLink(loopback, acceptOwn)
	case !host && here:
		g.conn.DelChain(g.linkChain(loopback))
	}
}

// acceptOwn accepts what the director sends.
var acceptOwn = join([]expr.Any{
	&expr.Meta{Key: expr.MetaKeyMARK, Register: reg0},
	equal(reg0, binary.NativeEndian.AppendUint32(nil, frame.OwnMark)...),
}, accept)

// addEgress adds the chain of what is sent on a link.
func (g *Guard) addEgress(name string) {
	c := g.egressChain(name)
	policy := nftables.ChainPolicyAccept
	c.Hooknum, c.Priority = nftables.ChainHookEgress, nftables.ChainPriorityFilter
	c.Type, c.Device, c.Policy = nftables.ChainTypeFilter, name, &policy
	g.conn.AddChain(c)
	rules := [][]expr.Any{acceptOwn}
	for _, next := range []struct {
		kind  uint16
		chain string
	}{{unix.ETH_P_IP, chainOut}, {unix.ETH_P_IPV6, chainOut6}} {
		rules = append(rules, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: reg0},
			equal(reg0, byte(next.kind>>8), byte(next.kind)),
			&expr.Verdict{Kind: expr.VerdictJump, Chain: next.chain},
		})
	}
	g.addRules(c, rules)
}

// out returns the rules for the packets of one IP version that the host sends: the
// conditions of packets, with source and destination swapped.
func (l *layout) out(errs string) (rules [][]expr.Any) {
	redirect := jump(chainRedirect)
	if l.six == 1 {
		rules = append(rules, discovery())
	}
	for _, set := range []int{virtual, protocols, addresses, connTuples} {
		rules = append(rules, join(l.in(set, l.dst, 2), redirect))
	}
	rules = append(rules, join(l.in(local, l.dst, 2), foreign(), redirect))
	for _, set := range []int{servers, sources, origins} {
		rules = append(rules, join(l.in(set, l.src, 0), redirect))
	}
	rules = append(rules,
		join(l.laterFragment(), l.in(fragmentsTo, l.dst, 2), redirect),
		join(l.laterFragment(), l.in(fragmentsOf, l.src, 0), redirect))
	return append(rules, l.errors(errs)...)
}

// errorsOut returns the rules for ICMP errors the host sends: of a server about
// requests, of a client about replies.
func (l *layout) errorsOut() (rules [][]expr.Any) {
	redirect := jump(chainRedirect)
	for _, set := range []int{servers, sources, origins} {
		rules = append(rules, join(l.within(set, l.dst, 2), redirect))
	}
	for _, set := range []int{virtual, protocols, addresses, connTuples} {
		rules = append(rules, join(l.within(set, l.src, 0), redirect))
	}
	return rules
}

// addRedirect adds the chain that sends a frame out on the loopback interface. Its one
// rule is encoded by hand: the library has no expression for `fwd`.
func (g *Guard) addRedirect() error {
	lo, err := net.InterfaceByName(loopback)
	if err != nil {
		return err
	}
	g.conn.AddChain(&nftables.Chain{Table: g.table, Name: chainRedirect})
	if err := g.conn.Flush(); err != nil {
		return err
	}
	device, err := expr.Marshal(byte(nftables.TableFamilyNetdev),
		&expr.Immediate{Register: reg0, Data: binary.NativeEndian.AppendUint32(nil, uint32(lo.Index))})
	if err != nil {
		return err
	}
	fwd, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_EXPR_NAME, Data: []byte("fwd\x00")},
		nested(unix.NFTA_EXPR_DATA, netlink.Attribute{Type: fwdDevice, Data: binary.BigEndian.AppendUint32(nil, reg0)}),
	})
	if err != nil {
		return err
	}
	return g.addRawRule(chainRedirect, device, fwd)
}

// fwdDevice is NFTA_FWD_SREG_DEV, linux/netfilter/nf_tables.h.
const fwdDevice = 1

// addRawRule adds a rule of expressions in the kernel's form.
func (g *Guard) addRawRule(chain string, expressions ...[]byte) error {
	list := make([]netlink.Attribute, len(expressions))
	for i, e := range expressions {
		list[i] = netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: e}
	}
	rule, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_RULE_TABLE, Data: []byte(g.table.Name + "\x00")},
		{Type: unix.NFTA_RULE_CHAIN, Data: []byte(chain + "\x00")},
		nested(unix.NFTA_RULE_EXPRESSIONS, list...),
	})
	if err != nil {
		return err
	}
	mark := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
	head := []byte{unix.NFPROTO_NETDEV, unix.NFNETLINK_V0, 0, 0}
	_, err = g.nl.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request}, Data: mark},
		{Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE,
			Flags: netlink.Request | netlink.Acknowledge | netlink.Create | netlink.Append,
		}, Data: append(head, rule...)},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request}, Data: mark},
	})
	if err != nil {
		return err
	}
	if _, err := g.nl.Receive(); err != nil {
		return fmt.Errorf("guard: add rule to %s: %w", chain, err)
	}
	return nil
}

// nested returns an attribute that contains others, which are short enough to fit.
func nested(kind uint16, a ...netlink.Attribute) netlink.Attribute {
	b, _ := netlink.MarshalAttributes(a)
	return netlink.Attribute{Type: unix.NLA_F_NESTED | kind, Data: b}
}

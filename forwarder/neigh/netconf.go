package neigh

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What linux/netconf.h and linux/fib_rules.h define and x/sys does not.
const (
	netconfIndex      = 1  // NETCONFA_IFINDEX
	netconfForwarding = 2  // NETCONFA_FORWARDING
	netconfAll        = -1 // NETCONFA_IFINDEX_ALL

	ruleInvert = 2 // FIB_RULE_INVERT
)

// header is a fixed part of a request.
type header []byte

func (h header) Len() int          { return len(h) }
func (h header) Serialize() []byte { return h }

func (k *rtnetlink) ask(what, flags int, answer uint16, parts ...nl.NetlinkRequestData) ([][]byte, error) {
	req := nl.NewNetlinkRequest(what, flags)
	req.Sockets = k.asking
	for _, p := range parts {
		req.AddData(p)
	}
	return req.Execute(unix.NETLINK_ROUTE, answer)
}

// forwarding reads the switch for all interfaces of a family. Unlike
// /proc/sys/net, netlink answers for the namespace of the socket, whichever
// thread asks.
func (k *rtnetlink) forwarding(family uint8) bool {
	all := int32(netconfAll)
	answers, err := k.ask(unix.RTM_GETNETCONF, 0, unix.RTM_NEWNETCONF,
		header{family, 0, 0, 0}, nl.NewRtAttr(netconfIndex, nl.Uint32Attr(uint32(all))))
	if err != nil || len(answers) == 0 || len(answers[0]) < 4 {
		return false
	}
	attrs, err := nl.ParseRouteAttr(answers[0][4:])
	if err != nil {
		return false
	}
	for _, a := range attrs {
		if a.Attr.Type == netconfForwarding && len(a.Value) >= 4 {
			return binary.NativeEndian.Uint32(a.Value) != 0
		}
	}
	return false
}

// rules reads the policy rules of a family.
func (k *rtnetlink) rules(family int) ([]rule, error) {
	answers, err := k.ask(unix.RTM_GETRULE, unix.NLM_F_DUMP, unix.RTM_NEWRULE,
		header{uint8(family), 11: 0})
	var rules []rule
	for _, m := range answers {
		if r, ok := ruleOf(m); ok && r.is6 == (family == unix.AF_INET6) {
			rules = append(rules, r)
		}
	}
	return rules, err
}

// ruleOf reads a fib_rule_hdr and its attributes.
func ruleOf(m []byte) (rule, bool) {
	if len(m) < 12 {
		return rule{}, false
	}
	r := rule{is6: m[0] == unix.AF_INET6, table: uint32(m[4]), action: m[7], suppress: -1}
	flags := binary.NativeEndian.Uint32(m[8:])
	r.opaque = flags&ruleInvert != 0
	r.never = m[3] != 0 // it asks for a type of service
	attrs, err := nl.ParseRouteAttr(m[12:])
	if err != nil {
		return rule{}, false
	}
	var mark, mask uint32
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.FRA_FWMARK:
			mark = number(a.Value)
		case unix.FRA_FWMASK:
			mask = number(a.Value)
		default:
			r.attribute(a.Attr.Type, a.Value, int(m[1]), int(m[2]))
		}
	}
	r.never = r.never || mark&mask != 0 // our packets have mark 0
	return r, true
}

// attribute applies one attribute. to and from are the lengths of the prefixes.
func (r *rule) attribute(kind uint16, value []byte, to, from int) {
	switch kind {
	case unix.FRA_DST:
		addr, ok := netip.AddrFromSlice(value)
		r.opaque = r.opaque || !ok
		r.dst = netip.PrefixFrom(addr, to)
	case unix.FRA_SRC:
		addr, ok := netip.AddrFromSlice(value)
		r.opaque = r.opaque || !ok
		r.src = netip.PrefixFrom(addr, from)
	case unix.FRA_GOTO:
		r.target = number(value)
	case unix.FRA_PRIORITY:
		r.priority = number(value)
	case unix.FRA_TABLE:
		r.table = number(value)
	case unix.FRA_SUPPRESS_PREFIXLEN:
		r.suppress = int(int32(number(value)))
	case unix.FRA_SUPPRESS_IFGROUP:
		r.opaque = r.opaque || int32(number(value)) != -1
	case unix.FRA_IIFNAME:
		r.never = r.never || string(value) != "lo\x00" // lo: packets of the host itself
	case unix.FRA_OIFNAME, unix.FRA_TUN_ID, unix.FRA_IP_PROTO, unix.FRA_SPORT_RANGE, unix.FRA_DPORT_RANGE:
		r.never = true
	case unix.FRA_L3MDEV:
		// Asks for an interface of a VRF.
		r.never = r.never || len(value) > 0 && value[0] != 0
	case unix.FRA_FLOW, unix.FRA_PAD, unix.FRA_PROTOCOL:
	default:
		r.opaque = true
	}
}

func number(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

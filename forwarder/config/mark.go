package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// MarkRule gives a firewall mark to the packets it matches: all that is set must
// fit. Of several rules that match, the last one's mark counts, as with
// iptables' target MARK. A rule without addresses is for IPv4 and IPv6.
type MarkRule struct {
	Src      netip.Prefix `json:"source,omitzero"`
	Dst      netip.Prefix `json:"destination,omitzero"`
	Proto    Proto        `json:"protocol,omitempty"` // tcp, udp, sctp; empty: any
	SrcPorts PortRange    `json:"source_ports,omitzero"`
	DstPorts PortRange    `json:"destination_ports,omitzero"`
	Mark     uint32       `json:"mark"` // 0 takes the mark of an earlier rule away
}

// PortRange is a range of ports, both ends included, "80" or "6000:6010" in
// JSON. The zero value is any port.
type PortRange struct{ First, Last uint16 }

// Contains reports whether a port is in the range.
func (r PortRange) Contains(port uint16) bool {
	return r == PortRange{} || port >= r.First && port <= r.Last
}

// String returns the range in the words of iptables: "80", "6000:6010".
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d:%d", r.First, r.Last)
}

// MarshalText returns what String does.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "80", "6000:6010", ":1023" and "1024:".
func (r *PortRange) UnmarshalText(text []byte) error {
	first, last, isRange := strings.Cut(string(text), ":")
	if !isRange {
		last = first
	}
	if isRange && first == "" {
		first = "0"
	}
	if isRange && last == "" {
		last = "65535"
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if errA != nil || errB != nil || a > b || b == 0 {
		return fmt.Errorf("%q is neither a port nor a range such as 6000:6010", text)
	}
	*r = PortRange{uint16(a), uint16(b)}
	return nil
}

// Family is that of the rule's addresses, 0 if it has none.
func (r MarkRule) Family() Family {
	if r.Dst.IsValid() {
		return FamilyOf(r.Dst.Addr())
	}
	return FamilyOf(r.Src.Addr())
}

// Normal returns the rule in the one form in which equal rules are equal:
// without the bits of addresses that their masks do not cover.
func (r MarkRule) Normal() MarkRule {
	if r.Src.IsValid() {
		r.Src = r.Src.Masked()
	}
	if r.Dst.IsValid() {
		r.Dst = r.Dst.Masked()
	}
	return r
}

// Validate reports the first value that no director can take.
func (r MarkRule) Validate() error {
	for _, p := range []struct {
		name   string
		prefix netip.Prefix
	}{{"source", r.Src}, {"destination", r.Dst}} {
		if p.prefix.Addr().Is4In6() {
			return wrong(p.name, "%s is no address of a packet", p.prefix)
		}
	}
	switch {
	case r.Src.IsValid() && r.Dst.IsValid() && FamilyOf(r.Src.Addr()) != FamilyOf(r.Dst.Addr()):
		return wrong("source", "it is not of the destination's family")
	case r.Proto != 0 && r.Proto != TCP && r.Proto != UDP && r.Proto != SCTP:
		return wrong("protocol", "marks are for tcp, udp, sctp or all of them")
	case r.Proto == 0 && r.SrcPorts != PortRange{}:
		return wrong("source_ports", "ports need a protocol")
	case r.Proto == 0 && r.DstPorts != PortRange{}:
		return wrong("destination_ports", "ports need a protocol")
	}
	return nil
}

// String returns the rule in the words of iptables, without "-A".
func (r MarkRule) String() string {
	var b strings.Builder
	word := func(set bool, option string, value any) {
		if set {
			fmt.Fprintf(&b, "%s %v ", option, value)
		}
	}
	proto, _ := r.Proto.MarshalText()
	word(r.Src.IsValid(), "-s", r.Src)
	word(r.Dst.IsValid(), "-d", r.Dst)
	word(r.Proto != 0, "-p", string(proto))
	word(r.SrcPorts != PortRange{}, "--sport", r.SrcPorts)
	word(r.DstPorts != PortRange{}, "--dport", r.DstPorts)
	word(true, "--set-mark", r.Mark)
	return strings.TrimSuffix(b.String(), " ")
}

package config

import (
	"fmt"
	"net/netip"
)

// Normal returns the key in the one form in which equal keys are equal: the
// family set from the address, IPv4 for a mark without one, and no protocol,
// address or port beside a mark.
func (k Key) Normal() Key {
	if k.Mark != 0 {
		if k.Family == 0 {
			k.Family = IPv4
		}
		return Key{Mark: k.Mark, Family: k.Family}
	}
	k.Family = FamilyOf(k.Addr)
	return k
}

// FamilyOf returns the family of an address; an IPv4 address mapped into IPv6
// is an IPv6 address here, as it is to IPVS.
func FamilyOf(a netip.Addr) Family {
	switch {
	case a.Is4():
		return IPv4
	case a.Is6():
		return IPv6
	}
	return 0
}

// String returns the key in the words of ipvsadm: "-t 10.0.0.1:80", "-f 7 -6".
func (k Key) String() string {
	if k.Mark != 0 {
		if k.Family == IPv6 {
			return fmt.Sprintf("-f %d -6", k.Mark)
		}
		return fmt.Sprintf("-f %d", k.Mark)
	}
	option := map[Proto]string{TCP: "-t", UDP: "-u", SCTP: "--sctp-service"}[k.Proto]
	return option + " " + netip.AddrPortFrom(k.Addr, k.Port).String()
}

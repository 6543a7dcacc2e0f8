package ipvsadm

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"

	"uvs/forwarder/config"
)

// endpoint is a parsed argument like "host:port".
type endpoint struct {
	addr    netip.Addr
	port    uint16
	hasPort bool
}

// endpoint reads a service-address or server-address: an IPv4 address in any form of
// inet_aton(3) or a host name, with or without a port; an IPv6 address; or an IPv6 address
// in brackets with a port. Port names are looked up for protocol p.
func (t *Tool) endpoint(text string, p config.Proto) (endpoint, bool) {
	if text == "" || strings.Trim(text, "0123456789") == "" {
		return endpoint{}, false
	}
	port, hasPort := "", false
	if inner, bracketed := strings.CutPrefix(text, "["); bracketed {
		if text, port, hasPort = strings.Cut(inner, "]"); !strings.HasPrefix(port, ":") {
			return endpoint{}, false
		}
		port = port[1:]
	}
	addr, ok := ipv6(text)
	if !ok {
		text, port, hasPort = cutLast(text, ":") // so the port after a bracketed IPv4 address is lost
		addr, ok = t.ipv4(text)
	}
	if !ok {
		return endpoint{}, false
	}
	e := endpoint{addr: addr, hasPort: hasPort}
	if hasPort {
		e.port, ok = t.port(port, p)
	}
	return e, ok
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// ipv6 reads an address as inet_pton(3) does.
func ipv6(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(text)
	return a, err == nil && a.Is6() && a.Zone() == ""
}

func (t *Tool) ipv4(text string) (netip.Addr, bool) {
	if a, ok := inetAton(text); ok {
		return a, true
	}
	return t.Names.Host(text)
}

func (t *Tool) port(text string, p config.Proto) (uint16, bool) {
	if n, ok := number(text, 0, 65535); ok {
		return uint16(n), true
	}
	return t.Names.Port(text, p)
}

// inetAton reads an IPv4 address as inet_aton(3) does: one to four numbers, decimal, octal
// or hexadecimal, the last of which fills the remaining bytes. Space may follow.
func inetAton(text string) (netip.Addr, bool) {
	if i := strings.IndexAny(text, cSpace); i >= 0 {
		text = text[:i]
	}
	parts := strings.Split(text, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var value uint64
	for i, part := range parts {
		n, ok := cNumber(part)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if !ok || n >= 1<<bits {
			return netip.Addr{}, false
		}
		value = value<<bits | n
	}
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, uint32(value)))), true
}

// cNumber reads a number in the notation of C: 10, 012, 0xa.
func cNumber(text string) (uint64, bool) {
	base := 10
	lower := strings.ToLower(text)
	switch {
	case strings.HasPrefix(lower, "0x"):
		text, base = lower[2:], 16
	case strings.HasPrefix(text, "0") && len(text) > 1:
		text, base = text[1:], 8
	}
	if strings.HasPrefix(text, "+") {
		return 0, false
	}
	n, err := strconv.ParseUint(text, base, 64)
	return n, err == nil
}

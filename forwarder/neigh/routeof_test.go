package neigh

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The library hands the IPv4 default route's destination out in 16 bytes,
// where it would pass for IPv6.
func TestDefaultRoutesKeepTheirFamily(t *testing.T) {
	for _, c := range []struct {
		name   string
		family int
		dst    net.IPNet
		want   string
	}{
		{"IPv4", unix.AF_INET, net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, "0.0.0.0/0"},
		{"IPv6", unix.AF_INET6, net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, "::/0"},
		{"IPv4-mapped IPv6", unix.AF_INET6, net.IPNet{IP: net.ParseIP("::ffff:0:0"), Mask: net.CIDRMask(96, 128)}, "::ffff:0.0.0.0/96"},
	} {
		r, ok := routeOf(&netlink.Route{Family: c.family, Dst: &c.dst, Table: unix.RT_TABLE_MAIN})
		if !ok || r.dst != netip.MustParsePrefix(c.want) {
			t.Errorf("%s: %v, %v; want %s", c.name, r.dst, ok, c.want)
		}
	}
}

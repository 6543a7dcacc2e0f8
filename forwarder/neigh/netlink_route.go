package neigh

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routeOf converts a route of the kernel, or returns false if its destination cannot be
// read.
func routeOf(r *netlink.Route) (route, bool) {
	out := route{table: uint32(r.Table), kind: r.Type, metric: r.Priority, mtu: r.MTU}
	if r.Dst != nil {
		a, ok := netip.AddrFromSlice(r.Dst.IP)
		ones, _ := r.Dst.Mask.Size()
		if !ok {
			return out, false
		}
		if r.Family == unix.AF_INET {
			a = a.Unmap() // the library gives the default route's 0.0.0.0 16 bytes
		}
		out.dst = netip.PrefixFrom(a, ones)
	}
	if a, ok := netip.AddrFromSlice(r.Src); ok {
		out.source = a.Unmap()
	}
	if len(r.MultiPath) == 0 {
		h := nexthop{link: r.LinkIndex, weight: 1, gateway: gatewayOf(r.Gw, r.Via)}
		h.dead, h.wrapped = r.Flags&unix.RTNH_F_DEAD != 0, r.Encap != nil
		out.hops = []nexthop{h}
		return out, true
	}
	for _, m := range r.MultiPath {
		out.hops = append(out.hops, nexthop{
			link: m.LinkIndex, weight: m.Hops + 1, gateway: gatewayOf(m.Gw, m.Via),
			dead: m.Flags&unix.RTNH_F_DEAD != 0, wrapped: m.Encap != nil,
		})
	}
	return out, true
}

// gatewayOf returns the gateway of a nexthop, which may have another family than
// its destination; the zero address if the destination is on the link.
func gatewayOf(gw net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok && v != nil {
		gw = v.Addr
	}
	a, _ := netip.AddrFromSlice(gw)
	return a.Unmap()
}

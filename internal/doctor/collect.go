package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/internal/ethtool"
)

// Options say what to look at.
type Options struct {
	Socket string        // the director's control socket; empty: that of the network namespace
	Look   time.Duration // how long to look at packets
	// About are addresses whose routes matter, besides those that the services name.
	About []netip.Addr
}

// Collect reads the facts of this host, in the network namespace of the calling process.
// What cannot be read is listed in the result, and is no error.
func Collect(ctx context.Context, o Options) *Host {
	h := &Host{Time: time.Now(), Ways: map[string]Way{}, Sysctls: map[string]string{}}
	h.readLinks()
	h.readSysctls()
	h.readSockets()
	h.readFilters(ctx)
	c := client.New(o.Socket)
	about := o.About
	if h.readDirector(ctx, c); h.Director != nil {
		about = append(about, h.Director.named()...)
	}
	h.readWays(about)
	h.look(ctx, o.Look, c, about)
	h.readNeighbours()
	h.readTracked()
	return h
}

func (h *Host) unseen(what string, err error) {
	if err != nil {
		h.Unseen = append(h.Unseen, fmt.Sprintf("%s: %v", what, err))
	}
}

// readLinks reads interfaces with their addresses, and the main routing table.
func (h *Host) readLinks() {
	links, err := netlink.LinkList()
	h.unseen("interfaces", err)
	names := map[int]string{}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		h.Links = append(h.Links, Link{
			Index: a.Index, Name: a.Name, MAC: a.HardwareAddr.String(), MTU: a.MTU, Kind: l.Type(),
			LRO: largeReceive(a.Name), Up: a.RawFlags&unix.IFF_UP != 0, Loopback: a.RawFlags&unix.IFF_LOOPBACK != 0,
		})
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	h.unseen("addresses", err)
	for _, a := range addrs {
		ip, _ := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		h.Addresses = append(h.Addresses, Address{Link: names[a.LinkIndex], Prefix: netip.PrefixFrom(ip.Unmap(), bits)})
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		h.unseen("routes", err)
		for _, r := range routes {
			h.Routes = append(h.Routes, routeOf(r, family, names))
		}
	}
}

// largeReceive reports whether an interface joins segments by itself. One that does not say is
// believed not to.
func largeReceive(link string) bool {
	features, err := ethtool.Features(link)
	return err == nil && features["rx-lro"]
}

func routeOf(r netlink.Route, family int, names map[int]string) Route {
	gateway, _ := netip.AddrFromSlice(r.Gw)
	out := Route{Gateway: gateway.Unmap(), Link: names[r.LinkIndex], Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	if family == netlink.FAMILY_V6 {
		out.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if r.Dst != nil {
		ip, _ := netip.AddrFromSlice(r.Dst.IP)
		bits, _ := r.Dst.Mask.Size()
		if family == netlink.FAMILY_V4 {
			ip = ip.Unmap()
		}
		out.Dst = netip.PrefixFrom(ip, bits)
	}
	return out
}

// readSysctls reads the parameters that decide about packets.
func (h *Host) readSysctls() {
	for _, pattern := range []string{
		"net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/*/rp_filter", "net/ipv4/conf/*/arp_ignore",
		"net/ipv4/conf/*/arp_announce", "net/ipv4/conf/*/accept_local", "net/netfilter/nf_conntrack_count",
		"net/netfilter/nf_conntrack_max",
	} {
		files, _ := filepath.Glob("/proc/sys/" + pattern)
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				continue // an interface that has gone
			}
			h.Sysctls[sysctlName(f)] = strings.TrimSpace(string(b))
		}
	}
}

// sysctlName returns the name of a parameter by its file; a dot in an interface's name
// stays a dot.
func sysctlName(file string) string {
	return strings.ReplaceAll(strings.TrimPrefix(file, "/proc/sys/"), "/", ".")
}

// readWays asks the kernel for its route to each address.
func (h *Host) readWays(about []netip.Addr) {
	for _, a := range about {
		if !a.IsValid() {
			continue
		}
		h.Ways[a.String()] = wayTo(a)
	}
}

func wayTo(a netip.Addr) Way {
	routes, err := netlink.RouteGet(a.AsSlice())
	if err != nil || len(routes) == 0 {
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) {
			err = errors.New("no route")
		}
		return Way{Error: fmt.Sprint(err)}
	}
	r := routes[0]
	w := Way{Local: r.Type == unix.RTN_LOCAL}
	if r.Type == unix.RTN_UNREACHABLE || r.Type == unix.RTN_BLACKHOLE || r.Type == unix.RTN_PROHIBIT {
		w.Error = "a route that forbids it"
	}
	gateway, _ := netip.AddrFromSlice(r.Gw)
	source, _ := netip.AddrFromSlice(r.Src)
	w.Gateway, w.Source = gateway.Unmap(), source.Unmap()
	if l, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
		w.Link = l.Attrs().Name
	}
	return w
}

// readNeighbours reads the neighbour table as it is now.
func (h *Host) readNeighbours() {
	names := map[int]string{}
	links, _ := netlink.LinkList()
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	all, err := netlink.NeighList(0, 0)
	h.unseen("neighbours", err)
	for _, n := range all {
		ip, ok := netip.AddrFromSlice(n.IP)
		if !ok || n.State&unix.NUD_NOARP != 0 {
			continue
		}
		h.Neighbours = append(h.Neighbours, Neighbour{
			Addr: ip.Unmap(), MAC: n.HardwareAddr.String(), Link: names[n.LinkIndex],
			Failed: n.State&(unix.NUD_FAILED|unix.NUD_INCOMPLETE) != 0,
		})
	}
}

// known returns the MAC address of a neighbour and whether the kernel asked in vain.
func (h *Host) known(a netip.Addr) (mac string, failed bool) {
	i := slices.IndexFunc(h.Neighbours, func(n Neighbour) bool { return n.Addr == a })
	if i < 0 {
		return "", false
	}
	return h.Neighbours[i].MAC, h.Neighbours[i].Failed
}

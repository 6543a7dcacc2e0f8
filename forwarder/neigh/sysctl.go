package neigh

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What linux/ip.h, linux/if_link.h and linux/rtnetlink.h define and x/sys does
// not: places in IFLA_INET_CONF, counted from 1.
const (
	confRPFilter      = 8
	confSourceRoute   = 9
	confAcceptLocal   = 23
	confRouteLocalnet = 26

	inetConf = 1 // IFLA_INET_CONF

	extMask   = 29     // IFLA_EXT_MASK
	skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS
)

// allSysctls holds the files of the sysctls for all interfaces, by their place. They
// are opened once, in the namespace they belong to, and can be read from any thread:
// netlink reports none of them but rp_filter.
type allSysctls map[int]*os.File

func openAllSysctls() allSysctls {
	files := allSysctls{}
	for place, name := range map[int]string{
		confRPFilter: "rp_filter", confSourceRoute: "accept_source_route",
		confAcceptLocal: "accept_local", confRouteLocalnet: "route_localnet",
	} {
		if f, err := os.Open("/proc/sys/net/ipv4/conf/all/" + name); err == nil {
			files[place] = f
		}
	}
	return files
}

func (a allSysctls) close() {
	for _, f := range a {
		_ = f.Close()
	}
}

// read returns the value of a sysctl. One that cannot be read is 0, the kernel's
// default for all four.
func (a allSysctls) read(place int) int {
	var b [16]byte
	f := a[place]
	if f == nil {
		return 0
	}
	n, _ := f.ReadAt(b[:], 0)
	value, _ := strconv.Atoi(string(bytes.TrimSpace(b[:n])))
	return value
}

// inputs reads the sysctls of all interfaces.
func (k *rtnetlink) inputs() (map[int]inputs, error) {
	answers, err := retryDump(func() ([][]byte, error) {
		return k.ask(unix.RTM_GETLINK, unix.NLM_F_DUMP, unix.RTM_NEWLINK,
			header{unix.AF_UNSPEC, 15: 0}, nl.NewRtAttr(extMask, nl.Uint32Attr(skipStats)))
	})
	if err != nil {
		return nil, err
	}
	all := map[int]int{}
	for place := range k.all {
		all[place] = k.all.read(place)
	}
	found := make(map[int]inputs, len(answers))
	for _, m := range answers {
		if len(m) < 16 {
			continue
		}
		conf := confOf(m[16:])
		found[int(int32(binary.NativeEndian.Uint32(m[4:])))] = inputs{
			rpFilter:      max(all[confRPFilter], conf(confRPFilter)),
			acceptLocal:   all[confAcceptLocal] != 0 || conf(confAcceptLocal) != 0,
			routeLocalnet: all[confRouteLocalnet] != 0 || conf(confRouteLocalnet) != 0,
			sourceRoute:   all[confSourceRoute] != 0 && conf(confSourceRoute) != 0,
		}
	}
	return found, nil
}

// confOf finds IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF in the attributes of a link
// and returns its values by their place.
func confOf(attrs []byte) func(place int) int {
	b := nested(nested(nested(attrs, unix.IFLA_AF_SPEC), unix.AF_INET), inetConf)
	return func(place int) int {
		at := 4 * (place - 1)
		if len(b) < at+4 {
			return 0
		}
		return int(int32(binary.NativeEndian.Uint32(b[at:])))
	}
}

// nested returns the value of the first attribute of a kind.
func nested(attrs []byte, kind uint16) []byte {
	list, err := nl.ParseRouteAttr(attrs)
	if err != nil {
		return nil
	}
	for _, a := range list {
		if a.Attr.Type&^unix.NLA_F_NESTED == kind {
			return a.Value
		}
	}
	return nil
}

// admits asks for the route of a packet as it arrived. The error is the kernel's.
func (k *rtnetlink) admits(src, dst netip.Addr, link int) error {
	_, err := k.handle.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{SrcAddr: src.AsSlice(), IifIndex: link})
	return err
}

package learn

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uvs/internal/lang"
)

// parameter: a parameter of a node's kernel has a value.
func parameter(node, name, value string) Check {
	return Check{
		What: lang.Textf("%s: %s = %s", "%s：%s = %s", node, name, value),
		Look: func(s *Scene) *Miss {
			got, err := s.parameter(node, name)
			if err != nil {
				return missed(err)
			}
			if got == value {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("on %s, %s is %s", "%s 上 %s 是 %s", node, name, got),
				Want: lang.Textf("%s", "%s", value),
			}
		},
	}
}

// silent: a real server does not answer ARP for an address on lo, and does not announce it.
func silent(node string) Check {
	want := map[string]string{"arp_ignore": "1", "arp_announce": "2"}
	return Check{
		What: lang.Textf("%s does not answer ARP for the VIP (arp_ignore 1, arp_announce 2)",
			"%s 不应答对 VIP 的 ARP 请求（arp_ignore 1，arp_announce 2）", node),
		Look: func(s *Scene) *Miss {
			for _, name := range []string{"arp_ignore", "arp_announce"} {
				for _, link := range []string{"all", "lo"} {
					full := fmt.Sprintf("net.ipv4.conf.%s.%s", link, name)
					if miss := parameter(node, full, want[name]).Look(s); miss != nil {
						return miss
					}
				}
			}
			return nil
		},
	}
}

// hasAddress: an interface of a node has an address with this prefix length, and no other
// interface has the address.
func hasAddress(node, link, prefix string) Check {
	want := netip.MustParsePrefix(prefix)
	return Check{
		What: lang.Textf("%s has %s on %s", "%[1]s 的 %[3]s 上有 %[2]s", node, prefix, link),
		Look: func(s *Scene) *Miss {
			all, err := s.addresses(node)
			if err != nil {
				return missed(err)
			}
			m := &Miss{Want: lang.Textf("%s on %s", "%[2]s 上的 %[1]s", prefix, link)}
			for at, prefixes := range all {
				for _, p := range prefixes {
					if p.Addr() == want.Addr() && (at != link || p != want) {
						m.Saw = lang.Textf("%s has %v on %s", "%[1]s 的 %[3]s 上是 %[2]v", node, p, at)
						return m
					}
				}
			}
			if slices.Contains(all[link], want) {
				return nil
			}
			m.Saw = lang.Textf("%s has no address %v", "%s 上没有地址 %v", node, want.Addr())
			return m
		},
	}
}

// gateway: a node's default route goes by a gateway.
func gateway(node, address string) Check {
	return Check{
		What: lang.Textf("the gateway of %s is %s", "%s 的网关是 %s", node, address),
		Look: func(s *Scene) *Miss {
			out, err := s.output(node, "ip", "route", "show", "default")
			if err != nil {
				return missed(err)
			}
			f := strings.Fields(out)
			if i := slices.Index(f, "via"); i >= 0 && i+1 < len(f) && f[i+1] == address {
				return nil
			}
			seen := strings.TrimSpace(out)
			if seen == "" {
				seen = "-"
			}
			return &Miss{
				Saw:  lang.Textf("on %s: %s", "%s 上：%s", node, seen),
				Want: lang.Textf("default via %s", "default via %s", address),
			}
		},
	}
}

// decapsulates: uvs decap runs on a real server.
func decapsulates(node string) Check {
	return Check{
		What: lang.Textf("%s takes packets out of tunnels", "%s 能解封装隧道报文", node),
		Look: func(s *Scene) *Miss {
			out, err := s.output(node, "cat", "/proc/net/unix")
			if err != nil {
				return missed(err)
			}
			if strings.Contains(out, "@uvs-decap") {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("no decapsulator runs on %s", "%s 上没有运行解封装程序", node),
				Want: lang.Textf("on %s: uvs decap &", "在 %s 上运行：uvs decap &", node),
			}
		},
	}
}

package guard

import (
	"net"
	"net/netip"
	"testing"
)

func TestMarksGuardNetworksAndRangesOfPorts(t *testing.T) {
	client, host, server := lan(t)
	g := newGuard(t, host)
	for _, c := range []struct{ client, server, network string }{
		{"10.0.0.9", "10.1.0.11", "10.1.0.0/24"},
		{"fd00::9", "fd00:1::11", "fd00:1::/64"},
	} {
		at := func(port string) string { return net.JoinHostPort(c.server, port) }
		six := netip.MustParseAddr(c.server).Is6()
		for _, port := range []string{"79", "80", "90", "91"} {
			listen(t, server, at(port))
		}
		rule := Match{Six: six, Dst: netip.MustParsePrefix(c.network), Proto: 6, DstPorts: [2]uint16{80, 90}, Drop: true}
		set(host, g, Rules{Links: []string{"d0"}, Marks: []Match{rule}})
		expect(t, client, at("79"), "accepted", "the range begins at 80")
		expect(t, client, at("80"), "silent", "the range begins there")
		expect(t, client, at("90"), "silent", "the range ends there")
		expect(t, client, at("91"), "accepted", "the range ended at 90")

		except := Match{Six: six, Src: netip.PrefixFrom(netip.MustParseAddr(c.client), 24), Proto: 6}
		set(host, g, Rules{Links: []string{"d0"}, Marks: []Match{except, rule}})
		expect(t, client, at("80"), "accepted", "the first match excepts the client")
		rule.SrcPorts = [2]uint16{1, 1}
		set(host, g, Rules{Links: []string{"d0"}, Marks: []Match{rule}})
		expect(t, client, at("80"), "accepted", "no client has source port 1")
		rule.SrcPorts, rule.Proto = [2]uint16{}, 17
		set(host, g, Rules{Links: []string{"d0"}, Marks: []Match{rule}})
		expect(t, client, at("80"), "accepted", "the rule is for UDP")
		set(host, g, Rules{Links: []string{"d0"}})
		expect(t, client, at("80"), "accepted", "the rule is gone")
	}
}

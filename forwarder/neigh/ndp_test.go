package neigh

import (
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/mdlayher/ndp"

	"uvs/forwarder/frame"
)

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// solicit is a neighbour solicitation by macPeer, with its MAC address as an
// option or without.
func solicit(tb testing.TB, src, dst, target string, option bool) frame.Frame {
	tb.Helper()
	m := &ndp.NeighborSolicitation{TargetAddress: ip(target)}
	if option {
		m.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: macPeer[:]}}
	}
	return ndpFrame(peer(macPeer), groupMAC(ip(dst)), ip(src), ip(dst), m)
}

func TestAnswerToNDP(t *testing.T) {
	const vip, group = "fd00::100", "ff02::1:ff00:100"
	change := func(at int, to byte, fix bool) frame.Frame {
		f := solicit(t, "fd00::9", group, vip, true)
		b := f.Bytes()
		b[at] = to
		if fix {
			b[ndChecksum], b[ndChecksum+1] = 0, 0
			s := ^sum6(b)
			b[ndChecksum], b[ndChecksum+1] = byte(s>>8), byte(s)
		}
		return f
	}
	partial := change(ndChecksum, 0, false)
	partial.Offload.Flags = frame.OffloadPartial
	for _, c := range []struct {
		name string
		in   frame.Frame
		link int
		want frame.Verdict
		dst  string // of the reply
		to   [6]byte
	}{
		{"a solicitation for an owned address is answered", solicit(t, "fd00::9", group, vip, true), eth0, frame.Answered, "fd00::9", macPeer},
		{"so is one without a link-layer address", solicit(t, "fd00::9", group, vip, false), eth0, frame.Answered, "fd00::9", macPeer},
		{"one from no address goes to all nodes", solicit(t, "::", group, vip, false), eth0, frame.Answered, "ff02::1", allNodesMAC},
		{"one whose checksum is partial is answered", partial, eth0, frame.Answered, "fd00::9", macPeer},
		{"not one for somebody else's address", solicit(t, "fd00::9", "ff02::1:ff00:101", "fd00::101", true), eth0, frame.Pass, "", [6]byte{}},
		{"not one heard on eth1 by a host of eth0's network", solicit(t, "fd00::9", group, vip, true), eth1, frame.Pass, "", [6]byte{}},
		{"an advertisement of an owned address is a conflict", advertisement(peer(macPeer), ip(vip), false), eth0, frame.Pass, "", [6]byte{}},
		{"a hop limit below 255 came by a router", change(ip6Limit, 254, false), eth0, frame.DropMalformed, "", [6]byte{}},
		{"a wrong checksum", change(ndChecksum, 1, false), eth0, frame.DropMalformed, "", [6]byte{}},
		{"a code", change(ndCode, 1, true), eth0, frame.DropMalformed, "", [6]byte{}},
		{"a group as the target", change(ndTarget, 0xff, true), eth0, frame.DropMalformed, "", [6]byte{}},
		{"an option of no length", change(ndOptions+1, 0, true), eth0, frame.DropMalformed, "", [6]byte{}},
		{"an option past the end", change(ndOptions+1, 2, true), eth0, frame.DropMalformed, "", [6]byte{}},
		{"a length past the end", change(ip6Length+1, 40, false), eth0, frame.DropMalformed, "", [6]byte{}},
		{"a length before the end of the message", change(ip6Length+1, 20, false), eth0, frame.DropMalformed, "", [6]byte{}},
		{"from no address to another group", solicit(t, "::", "ff02::1:ff00:101", vip, false), eth0, frame.DropMalformed, "", [6]byte{}},
		{"from no address, with a link-layer address", solicit(t, "::", group, vip, true), eth0, frame.DropMalformed, "", [6]byte{}},
		{"an echo request is none of ours", change(ndType, 128, true), eth0, frame.Pass, "", [6]byte{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := owner(t, vip)
			f := c.in
			f.Ingress = c.link
			if v := b.Answer(&f); v != c.want {
				t.Fatalf("Answer is %v, want %v", v, c.want)
			}
			if c.want == frame.Answered {
				isAdvertisement(t, f.Bytes(), vip, c.dst, c.to, macEth0)
			}
		})
	}
}

// isAdvertisement demands that b, as gopacket reads it, says that addr is at
// mac, to the address dst and the MAC address to.
func isAdvertisement(t *testing.T, b []byte, addr, dst string, to, mac [6]byte) {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip6, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	icmp, _ := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
	na, _ := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if p.ErrorLayer() != nil || na == nil {
		t.Fatalf("not an advertisement: %v", p)
	}
	if [6]byte(eth.DstMAC) != to || [6]byte(eth.SrcMAC) != mac || ip6.HopLimit != 255 ||
		!ip6.SrcIP.Equal(net.ParseIP(addr)) || !ip6.DstIP.Equal(net.ParseIP(dst)) || !na.TargetAddress.Equal(net.ParseIP(addr)) {
		t.Errorf("%v", p)
	}
	if na.Solicited() != (dst != "ff02::1") || !na.Override() || na.Router() {
		t.Errorf("flags %08b", na.Flags)
	}
	if len(na.Options) != 1 || na.Options[0].Type != layers.ICMPv6OptTargetAddress || [6]byte(na.Options[0].Data) != mac {
		t.Errorf("options %v", na.Options)
	}
	sum := icmp.Checksum
	_ = icmp.SetNetworkLayerForChecksum(ip6)
	again := serialize(t, eth, ip6, icmp, gopacket.Payload(icmp.Payload))
	if got := [2]byte(again.Bytes()[ndChecksum:]); got != [2]byte{byte(sum >> 8), byte(sum)} {
		t.Errorf("checksum %04x, want %x", sum, got)
	}
}

func TestASolicitationIsAnsweredInWhateverRoomThereIs(t *testing.T) {
	in := solicit(t, "fd00::9", "ff02::1:ff00:100", "fd00::100", false)
	data := in.Bytes()
	for _, c := range []struct {
		name       string
		head, tail int
		want       frame.Verdict
	}{
		{"room behind", 0, 8, frame.Answered},
		{"room before", 8, 0, frame.Answered},
		{"some of each", 4, 4, frame.Answered},
		{"none", 0, 0, frame.DropNoMemory},
	} {
		b := owner(t, "fd00::100")
		buf := make([]byte, c.head+len(data)+c.tail)
		copy(buf[c.head:], data)
		var f frame.Frame
		f.Reset(buf, c.head, c.head+len(data), len(data))
		f.Ingress = eth0
		if v := b.Answer(&f); v != c.want {
			t.Errorf("%s: %v, want %v", c.name, v, c.want)
			continue
		}
		if c.want == frame.Answered {
			isAdvertisement(t, f.Bytes(), "fd00::100", "fd00::9", macPeer, macEth0)
		}
	}
}

func TestANeighbourIsFoundBySolicitation(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		b.lookup("fd00::9")
		out := b.take()
		if len(out) != 1 || [6]byte(out[0].data[:6]) != [6]byte{0x33, 0x33, 0xff, 0, 0, 9} {
			t.Fatalf("%v", out)
		}
		p := gopacket.NewPacket(out[0].data, layers.LayerTypeEthernet, gopacket.Default)
		ns, _ := p.Layer(layers.LayerTypeICMPv6NeighborSolicitation).(*layers.ICMPv6NeighborSolicitation)
		ip6, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
		if ns == nil || !ns.TargetAddress.Equal(net.ParseIP("fd00::9")) || !ip6.SrcIP.Equal(net.ParseIP("fd00::2")) ||
			!ip6.DstIP.Equal(net.ParseIP("ff02::1:ff00:9")) || len(ns.Options) != 1 {
			t.Fatalf("%v", p)
		}
		answer := ndpFrame(peer(macPeer), macEth0, ip("fd00::9"), ip("fd00::2"), &ndp.NeighborAdvertisement{
			Solicited: true, TargetAddress: ip("fd00::9"),
			Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: macPeer[:]}}})
		b.arrive(eth0, answer)
		if h := b.lookup("fd00::9"); !h.Resolved || h.DstMAC != macPeer {
			t.Errorf("%+v", h)
		}
	})
}

func TestTheGroupsOfOwnedAddressesAreListenedTo(t *testing.T) {
	k := twoLinks()
	b := still(t, k, Config{})
	b.SetOwned([]netip.Addr{ip("fd00::100"), ip("10.0.0.100")})
	group := ip("ff02::1:ff00:100")
	if len(k.groups) != 2 || !k.groups[key{eth0, group}] || !k.groups[key{eth1, group}] {
		t.Errorf("%v", k.groups)
	}
	b.SetOwned(nil)
	if k.groups[key{eth0, group}] || k.groups[key{eth1, group}] {
		t.Errorf("still listening: %v", k.groups)
	}
}

package neigh

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ndp"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

func serialize(tb testing.TB, parts ...gopacket.SerializableLayer) frame.Frame {
	tb.Helper()
	return copied(frametest.Build(tb, parts...))
}

// copied returns a frame with a copy of b.
func copied(b []byte) frame.Frame {
	f := newFrame(len(b))
	copy(f.Bytes(), b)
	return f
}

func hw(mac [6]byte) net.HardwareAddr { return mac[:] }

// question is an ARP request from a host.
func question(tb testing.TB, from string, mac [6]byte, to [6]byte, target string, pad ...byte) frame.Frame {
	tb.Helper()
	sender, wanted := ip(from).As4(), ip(target).As4()
	return serialize(tb,
		&layers.Ethernet{SrcMAC: hw(mac), DstMAC: hw(to), EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: 1, Protocol: 0x800, HwAddressSize: 6, ProtAddressSize: 4, Operation: 1,
			SourceHwAddress: mac[:], SourceProtAddress: sender[:],
			DstHwAddress: make([]byte, 6), DstProtAddress: wanted[:]},
		gopacket.Payload(pad))
}

func owner(tb testing.TB, addrs ...string) *bench {
	b := still(tb, twoLinks(), Config{})
	var list []netip.Addr
	for _, a := range addrs {
		list = append(list, ip(a))
	}
	b.SetOwned(list)
	return b
}

func TestAnswerToARP(t *testing.T) {
	const vip = "10.0.0.100"
	ask := func(from string, mac, to [6]byte, target string) frame.Frame {
		return question(t, from, mac, to, target)
	}
	short := ask("10.0.0.9", macPeer, broadcast, vip)
	cut := newFrame(arpEnd - 1)
	copy(cut.Bytes(), short.Bytes())
	odd := func(at int, to byte) frame.Frame {
		f := ask("10.0.0.9", macPeer, broadcast, vip)
		f.Bytes()[at] = to
		return f
	}
	tagged := ask("10.0.0.9", macPeer, broadcast, vip)
	tagged.Info.VLAN = 7
	priority := ask("10.0.0.9", macPeer, broadcast, vip)
	priority.Info.VLAN = 5 << 13
	for _, c := range []struct {
		name string
		in   frame.Frame
		link int
		want frame.Verdict
	}{
		{"a broadcast question for an owned address is answered", ask("10.0.0.9", macPeer, broadcast, vip), eth0, frame.Answered},
		{"so is one to the link's MAC address, which verifies", ask("10.0.0.9", macPeer, macEth0, vip), eth0, frame.Answered},
		{"and a probe, because the address is taken", ask("0.0.0.0", macPeer, broadcast, vip), eth0, frame.Answered},
		{"and one by a host of a foreign network", ask("192.168.7.7", macPeer, broadcast, vip), eth1, frame.Answered},
		{"not one to another host's MAC address", ask("10.0.0.9", macPeer, macNew, vip), eth0, frame.Pass},
		{"not one for somebody else's address", ask("10.0.0.9", macPeer, broadcast, "10.0.0.101"), eth0, frame.Pass},
		{"not one heard on eth1 by a host of eth0's network, which eth0 answers", ask("10.0.0.9", macPeer, broadcast, vip), eth1, frame.Pass},
		{"not one on an unknown link", ask("10.0.0.9", macPeer, broadcast, vip), 99, frame.Pass},
		{"not our own", ask("10.1.0.2", macEth1, broadcast, vip), eth0, frame.Pass},
		{"not one of a VLAN, which has its own interface", tagged, eth0, frame.Pass},
		{"but one with a priority tag", priority, eth0, frame.Answered},
		{"an announcement of an owned address is a conflict, not a question", announces(vip, macPeer), eth0, frame.Pass},
		{"a reply is left to the host", says("10.0.0.9", macPeer), eth0, frame.Pass},
		{"a truncated message is dropped", cut, eth0, frame.DropARP},
		{"a message for another hardware type is dropped", odd(arpKind+1, 6), eth0, frame.DropARP},
		{"a message for another protocol is dropped", odd(arpKind+2, 9), eth0, frame.DropARP},
		{"a MAC address of another length is dropped", odd(arpKind+4, 8), eth0, frame.DropARP},
		{"an address of another length is dropped", odd(arpKind+5, 16), eth0, frame.DropARP},
		{"a group's MAC address as the sender's is dropped", odd(arpSenderMAC, 1), eth0, frame.DropARP},
		{"another operation is none of ours", odd(arpOp+1, 8), eth0, frame.Pass},
		{"an IPv4 packet is none of ours", odd(13, 0), eth0, frame.Pass},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := owner(t, vip)
			f := c.in
			f.Ingress = c.link
			before := bytes.Clone(f.Bytes())
			sender := netip.AddrFrom4([4]byte(f.Bytes()[28:32]))
			if v := b.Answer(&f); v != c.want {
				t.Fatalf("Answer is %v, want %v", v, c.want)
			}
			if c.want != frame.Answered {
				if !bytes.Equal(f.Bytes(), before) {
					t.Error("the frame was changed")
				}
				return
			}
			mac := macEth0
			if c.link == eth1 {
				mac = macEth1
			}
			eth, m := isARP(t, f.Bytes())
			want := &layers.ARP{AddrType: 1, Protocol: 0x800, HwAddressSize: 6, ProtAddressSize: 4, Operation: 2,
				SourceHwAddress: mac[:], SourceProtAddress: ip(vip).AsSlice(),
				DstHwAddress: macPeer[:], DstProtAddress: sender.AsSlice()}
			m.BaseLayer = layers.BaseLayer{}
			if d := cmp.Diff(want, m); d != "" {
				t.Errorf("reply (-want +got):\n%s", d)
			}
			if [6]byte(eth.DstMAC) != macPeer || [6]byte(eth.SrcMAC) != mac || f.Egress != c.link || f.Ingress != c.link {
				t.Errorf("%v by link %d", eth, f.Egress)
			}
		})
	}
}

func TestAReplyCarriesNothingOfTheQuestionsPadding(t *testing.T) {
	b := owner(t, "10.0.0.100")
	f := question(t, "10.0.0.9", macPeer, broadcast, "10.0.0.100", bytes.Repeat([]byte("secret"), 100)...)
	f.Ingress = eth0
	if v := b.Answer(&f); v != frame.Answered || f.Len() != shortest || bytes.Contains(f.Bytes(), []byte("s")) {
		t.Errorf("%v, %d bytes: % x", v, f.Len(), f.Bytes())
	}
}

func TestAnsweringDoesNotAllocate(t *testing.T) {
	k := twoLinks()
	b := still(t, k, Config{})
	b.SetOwned([]netip.Addr{ip("10.0.0.100"), ip("fd00::100")})
	b.lookup("10.0.0.9")
	frames := map[string]frame.Frame{
		"an ARP request":        question(t, "10.0.0.9", macPeer, broadcast, "10.0.0.100"),
		"an ARP reply":          says("10.0.0.9", macPeer),
		"an ARP conflict":       announces("10.0.0.100", macPeer),
		"a solicitation":        solicit(t, "fd00::9", "ff02::1:ff00:100", "fd00::100", true),
		"a bare solicitation":   solicit(t, "::", "ff02::1:ff00:100", "fd00::100", false),
		"another solicitation":  solicit(t, "fd00::9", "ff02::1:ff00:100", "fd00::1:100", true),
		"someone's advertising": advertisement(peer(macPeer), ip("fd00::9"), false),
	}
	for name, in := range frames {
		data := bytes.Clone(in.Bytes())
		buf := make([]byte, frame.Headroom+2048)
		n := testing.AllocsPerRun(100, func() {
			var f frame.Frame
			f.Reset(buf, frame.Headroom, frame.Headroom+copy(buf[frame.Headroom:], data), len(data))
			f.Ingress = eth0
			b.Answer(&f)
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestAConflictIsLoggedOncePerMinute(t *testing.T) {
	var log bytes.Buffer
	run(t, Config{Log: textLog(&log)}, twoLinks(), func(b *bench) {
		b.SetOwned([]netip.Addr{ip("10.0.0.100")})
		for range 10 {
			b.arrive(eth0, announces("10.0.0.100", macPeer))
			wait(time.Second)
		}
	})
	if n := bytes.Count(log.Bytes(), []byte("claims an address")); n != 1 {
		t.Errorf("%d warnings, want 1:\n%s", n, log.String())
	}
}

// FuzzAnswer holds Answer against the readers of mdlayher/arp and
// mdlayher/ndp: what it answers they must read as the reply to what they read
// as a question.
func FuzzAnswer(f *testing.F) {
	for _, s := range []frame.Frame{
		question(f, "10.0.0.9", macPeer, broadcast, "10.0.0.100"),
		says("10.0.0.9", macPeer),
		solicit(f, "fd00::9", "ff02::1:ff00:100", "fd00::100", true),
		solicit(f, "::", "ff02::1:ff00:100", "fd00::100", false),
		advertisement(peer(macPeer), ip("fd00::100"), true),
	} {
		f.Add(s.Bytes(), uint8(0))
	}
	b := owner(f, "10.0.0.100", "fd00::100")
	b.lookup("10.0.0.9")
	f.Fuzz(func(t *testing.T, data []byte, flags uint8) {
		buf := make([]byte, 16+len(data))
		var in frame.Frame
		in.Reset(buf, 16, 16+copy(buf[16:], data), len(data))
		in.Ingress, in.Offload.Flags = eth0, flags
		switch v := b.Answer(&in); v {
		case frame.Answered:
			judge(t, data, in.Bytes())
		case frame.Pass, frame.DropARP, frame.DropMalformed:
			if !bytes.Equal(in.Bytes(), data) {
				t.Errorf("%v, and the frame was changed", v)
			}
		default:
			t.Errorf("Answer is %v", v)
		}
	})
}

func judge(t *testing.T, in, out []byte) {
	if binary.BigEndian.Uint16(in[12:]) == frame.EtherARP {
		var q, r arp.Packet
		if err := q.UnmarshalBinary(in[14:]); err != nil {
			t.Fatalf("answered to a message that is none: %v", err)
		}
		if err := r.UnmarshalBinary(out[14:]); err != nil {
			t.Fatalf("the reply is none: %v", err)
		}
		if r.Operation != arp.OperationReply || r.SenderIP != q.TargetIP || r.TargetIP != q.SenderIP ||
			!bytes.Equal(r.TargetHardwareAddr, q.SenderHardwareAddr) || [6]byte(r.SenderHardwareAddr) != macEth0 {
			t.Errorf("%+v answers %+v", r, q)
		}
		return
	}
	q, err := ndp.ParseMessage(in[ndType:])
	if _, ok := q.(*ndp.NeighborSolicitation); err != nil || !ok {
		// Trailing bytes after the IPv6 packet are padding to us, options to ndp.
		q, err = ndp.ParseMessage(in[ndType : ndType+int(binary.BigEndian.Uint16(in[ip6Length:]))])
	}
	ns, ok := q.(*ndp.NeighborSolicitation)
	if !ok {
		t.Skipf("mdlayher/ndp is stricter: %v", err)
	}
	r, err := ndp.ParseMessage(out[ndType:])
	na, ok := r.(*ndp.NeighborAdvertisement)
	if !ok || na.TargetAddress != ns.TargetAddress {
		t.Errorf("%+v answers %+v: %v", r, ns, err)
	}
	if sum6(out) != 0xffff {
		t.Error("the reply's checksum is wrong")
	}
}

package neigh

import (
	"testing"
	"time"

	"github.com/mdlayher/ndp"

	"uvs/forwarder/frame"
)

// advertises is a neighbour advertisement for an address of a peer.
func advertises(addr string, mac [6]byte, solicited, override bool) frame.Frame {
	to, dst := allNodesMAC, allNodes
	if solicited {
		to, dst = macEth0, ip("fd00::2")
	}
	return ndpFrame(peer(mac), to, ip(addr), dst, &ndp.NeighborAdvertisement{
		Solicited: solicited, Override: override, TargetAddress: ip(addr),
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac[:]}},
	})
}

func TestWhatIsDoubtedIsAskedAbout(t *testing.T) {
	for _, c := range []struct {
		addr    string
		answers func(mac [6]byte) frame.Frame
		all     [6]byte // where a question to all goes
	}{
		{"10.0.0.9", func(mac [6]byte) frame.Frame { return says("10.0.0.9", mac) }, broadcast},
		{"fd00::9", func(mac [6]byte) frame.Frame { return advertises("fd00::9", mac, true, true) }, groupMAC(solicitedNode(ip("fd00::9")))},
	} {
		run(t, Config{}, twoLinks(), func(b *bench) {
			b.lookup(c.addr)
			b.arrive(eth0, c.answers(macPeer))
			b.take()
			b.Probe(ip(c.addr))
			wait(0)
			if s := b.take(); len(s) != 0 {
				t.Errorf("%s: asked again right after its answer: %v", c.addr, s)
			}
			wait(replyTrusted)
			b.Probe(ip(c.addr))
			b.Probe(ip(c.addr))
			wait(0)
			if s := b.take(); len(s) != 1 || [6]byte(s[0].data[:6]) != macPeer {
				t.Errorf("%s: the first question is %v", c.addr, s)
			}
			wait(retransmit)
			if s := b.take(); len(s) != 1 || [6]byte(s[0].data[:6]) != c.all {
				t.Errorf("%s: the second question is %v", c.addr, s)
			}
			if b.lookup(c.addr).DstMAC != macPeer {
				t.Errorf("%s: the known address is not used meanwhile", c.addr)
			}
			b.arrive(eth0, c.answers(macNew))
			if b.lookup(c.addr).DstMAC != macNew {
				t.Errorf("%s: the machine that answers is not used", c.addr)
			}
			b.Probe(ip(c.addr))
			wait(retransmit)
			if s := b.take(); len(s) != 0 {
				t.Errorf("%s: asked again: %v", c.addr, s)
			}
		})
	}
}

func TestDoubtEndsWithTheOldMachinesAnswer(t *testing.T) {
	run(t, Config{}, twoLinks(), func(b *bench) {
		b.lookup("10.0.0.9")
		b.arrive(eth0, says("10.0.0.9", macPeer))
		wait(replyTrusted)
		b.Probe(ip("10.0.0.9"))
		wait(0)
		b.take()
		b.arrive(eth0, says("10.0.0.9", macPeer))
		wait(4 * time.Second)
		if s := b.take(); len(s) != 0 || !b.lookup("10.0.0.9").Resolved {
			t.Errorf("asked on after the answer: %v", s)
		}
		b.Probe(ip("192.0.2.1"))
		b.Probe(ip("10.0.0.2"))
		wait(retransmit)
	})
}

func TestAnAdvertisementMovesAnAddressAtOnce(t *testing.T) {
	for _, c := range []struct {
		name                string
		solicited, override bool
		mac                 [6]byte
	}{
		{"unsolicited with the override flag", false, true, macNew},
		{"unsolicited without it", false, false, macPeer},
		{"solicited with it", true, true, macNew},
		{"solicited without it", true, false, macPeer},
	} {
		run(t, Config{}, twoLinks(), func(b *bench) {
			b.lookup("fd00::9")
			b.arrive(eth0, advertises("fd00::9", macPeer, true, true))
			wait(200 * time.Millisecond)
			b.arrive(eth0, advertises("fd00::9", macNew, c.solicited, c.override))
			if h := b.lookup("fd00::9"); h.DstMAC != c.mac {
				t.Errorf("%s, within a second of the old machine's answer: %x, want %x", c.name, h.DstMAC, c.mac)
			}
		})
	}
}

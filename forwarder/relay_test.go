package forwarder

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"uvs/forwarder/frame"
)

// tooBig returns a router's answer to a packet that the director sent to a real server, which
// is given with its Ethernet header.
func tooBig(sent []byte, mtu uint16) []byte {
	quoted := sent[frame.EthernetLen:]
	router, src := "10.1.99.1", netip.AddrFrom4([4]byte(quoted[12:]))
	return icmp(2, router, src.String(), 3, 4, uint32(mtu), string(quoted[:min(len(quoted), 200)]))
}

// told returns the MTU in an ICMP error.
func told(b []byte) uint16 { return binary.BigEndian.Uint16(b[frame.EthernetLen+20+6:]) }

func TestPathMTUBehindATunnelReachesTheClient(t *testing.T) {
	b := newTestbed(t, "-A -t 10.2.0.3:80 -s rr\n-a -t 10.2.0.3:80 -r 10.1.0.3:80 -i")
	b.send(1, seg(t, 1, "172.16.0.9:30001", "10.2.0.3:80", frame.FlagSYN, ""))
	large := func() []sent {
		p := seg(t, 1, "172.16.0.9:30001", "10.2.0.3:80", frame.FlagACK, string(make([]byte, 1300)))
		p[frame.EthernetLen+6] |= 0x40 // DF
		frame.SumHeader4(p[frame.EthernetLen : frame.EthernetLen+20])
		return b.send(1, p)
	}
	out := large()
	if len(out) != 1 || out[0].link != 2 {
		t.Fatalf("1340 bytes do not pass at first: %v", b.words(out))
	}
	forged := tooBig(out[0].b, 1200)
	copy(forged[frame.EthernetLen+28+12:], []byte{10, 9, 9, 9}) // about a packet the director did not send
	if got := b.words(b.send(2, forged)); got != nil {
		t.Errorf("a message about somebody else's tunnel gives %v", got)
	}
	got := b.send(2, tooBig(out[0].b, 1200))
	if w := b.words(got); len(w) != 1 || w[0] != "client 02:00:00:02:00:01 10.2.0.3>172.16.0.9 DestinationUnreachable(FragmentationNeeded)" {
		t.Fatalf("the router's message becomes %v", w)
	}
	out = large()
	if len(out) != 1 || out[0].link != 1 || told(out[0].b) != 1180 {
		t.Fatalf("what is larger than the path is answered %v, want MTU 1180", b.words(out))
	}
	b.workers[1].fw.started = b.workers[1].fw.started.Add(-700e9)
	if out = large(); len(out) != 1 || out[0].link != 2 {
		t.Errorf("the path's MTU is still believed after 700 s: %v", b.words(out))
	}
}

// The TCP option with the client's address never makes a segment longer than the path MTU to
// the server, whoever learns that first.
func TestPathMTUBehindFullNAT(t *testing.T) {
	b := newTestbed(t, "-A -t 10.2.0.3:80 -s rr\n-a -t 10.2.0.3:80 -r 10.1.0.3:80 --fullnat\n"+
		"-A -t 10.2.0.4:80 -s rr\n-a -t 10.2.0.4:80 -r 10.1.0.4:80 --fullnat")
	segment := func(vip string, n int) []sent {
		p := seg(t, 1, "172.16.0.9:30001", vip+":80", frame.FlagACK, string(make([]byte, n-40)))
		p[frame.EthernetLen+6] |= 0x40 // DF
		frame.SumHeader4(p[frame.EthernetLen : frame.EthernetLen+20])
		return b.send(1, p)
	}
	b.send(1, seg(t, 1, "172.16.0.9:30001", "10.2.0.3:80", frame.FlagSYN, ""), seg(t, 1, "172.16.0.9:30001", "10.2.0.4:80", frame.FlagSYN, ""))
	out := segment("10.2.0.3", 1400)
	if len(out) != 1 || len(out[0].b) != frame.EthernetLen+1408 {
		t.Fatalf("1400 bytes do not pass with the option at first: %v", b.words(out))
	}
	got := b.send(2, tooBig(out[0].b, 1400))
	if w := b.words(got); len(w) != 1 || w[0] != "client 02:00:00:02:00:01 10.2.0.3>172.16.0.9 DestinationUnreachable(FragmentationNeeded)" {
		t.Fatalf("the router's message becomes %v", w)
	}
	if n := told(got[0].b); n != 1392 {
		t.Errorf("the router's 1400 is told as %d", n)
	}
	for _, c := range []struct {
		name             string
		vip              string
		client, toServer int // bytes; 0: the client is told instead
	}{
		{"what the way carries with the option has it", "10.2.0.3", 1392, 1400},
		{"what the way carries only without the option goes without", "10.2.0.3", 1400, 1400},
		{"what it does not carry is answered", "10.2.0.3", 1401, 0},
		{"another server's way is another", "10.2.0.4", 1401, 1409},
	} {
		switch out := segment(c.vip, c.client); {
		case len(out) != 1:
			t.Errorf("%s: %v", c.name, b.words(out))
		case c.toServer == 0 && (out[0].link != 1 || told(out[0].b) != 1392):
			t.Errorf("%s: %v, MTU %d", c.name, b.words(out), told(out[0].b))
		case c.toServer != 0 && len(out[0].b) != frame.EthernetLen+c.toServer:
			t.Errorf("%s: %d bytes", c.name, len(out[0].b)-frame.EthernetLen)
		}
	}
}

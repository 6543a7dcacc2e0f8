package forwarder

import (
	"fmt"
	"testing"

	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

// Each table that packets fill is bounded, and packets that find it full are counted by
// name.

func TestConnectionsBeyondTheTableAreCounted(t *testing.T) {
	const most, asked = 64, 100
	for _, c := range []struct{ name, rules string }{
		{"connections", "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m"},
		{"connections of FULLNAT", "-A -t 10.2.0.1:80 -s rr\n--add-laddr -t 10.2.0.1:80 --laddr 10.1.200.1\n-a -t 10.2.0.1:80 -r 10.1.0.1:8080 --fullnat"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTestbedOf(t, c.rules, most)
			out := 0
			for i := range asked {
				out += len(b.send(1, seg(t, 1, fmt.Sprintf("172.16.0.9:%d", 20000+i), aVirtual, syn, "")))
			}
			if n := b.fw.conns.Len(); n != most || out != most {
				t.Errorf("%d connections and %d packets sent on, want %d of each", n, out, most)
			}
			if n := b.verdict(frame.DropConnTableFull); n != asked-most {
				t.Errorf("%d packets counted as finding the table full, want %d", n, asked-most)
			}
		})
	}
}

func TestTemplatesShareTheBoundOfConnections(t *testing.T) {
	b := newTestbedOf(t, "", 64)
	b.ipvsadm("-A -t 10.2.0.1:80 -s rr -p 60")
	b.ipvsadm("-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m")
	for i := range 100 {
		b.send(1, seg(t, 1, fmt.Sprintf("172.16.1.%d:20000", i), aVirtual, syn, ""))
	}
	if n := b.fw.conns.Len(); n != 64 || b.verdict(frame.DropConnTableFull) != 100-32 {
		t.Errorf("%d connections and templates, %d packets found the table full, want 64 and 68", n, b.verdict(frame.DropConnTableFull))
	}
}

func TestUnfinishedDatagramsAreBoundedAndCounted(t *testing.T) {
	b := newTestbed(t, "-A -u 10.2.0.1:53 -s rr\n-a -u 10.2.0.1:53 -r 10.1.0.1:53 -m")
	const sent = 5000
	for i := range sent {
		b.send(1, onLink(1, frametest.Packet{Src: fmt.Sprintf("172.16.%d.9", i>>12), Dst: "10.2.0.1", ID: uint16(i), MoreFragments: true,
			Proto: layers.IPProtocolUDP, Data: string(make([]byte, 1400))}))
	}
	w := b.workers[1]
	gone := b.verdict(frame.DropFragmentMemory)
	if gone == 0 || w.frags.Len()*1400 > frame.FragmentMemory {
		t.Errorf("of %d first fragments %d are kept and %d counted as given up for memory", sent, w.frags.Len(), gone)
	}
	if kept := uint64(w.frags.Len()); kept+gone+b.verdict(frame.DropFragmentTimeout) != sent {
		t.Errorf("%d kept and %d given up are not the %d sent", kept, gone, sent)
	}
}

package forwarder

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/service"
)

func TestWhatAServerDidNotGetItDoesNotLack(t *testing.T) {
	offered := func(b *testbed, virtual string) []layers.TCPOption {
		return b.say(1, "172.16.0.10:4000", virtual, layers.TCP{SYN: true, Seq: 1, Options: synOptions(500, 0)}, "")[0].Options
	}
	mss := synOptions(0, 0)[:1]
	t.Run("time stamps, when FULLNAT hides them because its port was used before", func(t *testing.T) {
		b := newTestbedWith(t, proxyRules, Config{MaxConns: 64, LocalPorts: [2]uint16{5000, 5000}})
		all := offered(b, "10.2.0.3:80")
		late := func(d *dialogue) []layers.TCPOption { return []layers.TCPOption{stamps(9000, d.its)} }
		d := b.connect("172.16.0.9:4000", "10.2.0.3:80")
		d.fromServer(layers.TCP{FIN: true, ACK: true, Seq: serverISN + 1, Ack: clientISN + 1}, "")
		d.fromClient(layers.TCP{FIN: true, ACK: true, Seq: clientISN + 1, Ack: d.cookie + 2, Options: late(d)}, "")
		d.fromServer(layers.TCP{ACK: true, Seq: serverISN + 2, Ack: clientISN + 2}, "")
		d = b.greet("172.16.0.8:4000", "10.2.0.3:80")
		got := d.fromClient(d.data(), "")
		if len(got) != 1 || !got[0].SYN || got[0].option(layers.TCPOptionKindTimestamps) != nil {
			t.Fatalf("the server hears %v with %v, want a SYN without time stamps", got, got[0].Options)
		}
		d.near, d.server = got[0].src, got[0].dst
		d.fromServer(layers.TCP{SYN: true, ACK: true, Seq: serverISN, Ack: got[0].Seq + 1, Options: mss}, "")
		b.expectCounts("it is connected", map[string]uint64{"synproxy-answered": 2})
		if left := offered(b, "10.2.0.3:80"); len(left) != len(all) {
			t.Errorf("the next client is offered %v", left)
		}
	})
	t.Run("window scale and SACK, when it answers by a cookie of its own a client without time stamps", func(t *testing.T) {
		b := newTestbed(t, proxyRules)
		all := offered(b, "10.2.0.1:80")
		o := synOptions(0, 0)
		got := b.say(1, "172.16.0.9:4000", "10.2.0.1:80", layers.TCP{SYN: true, Seq: clientISN, Options: []layers.TCPOption{o[0], o[1], o[3]}}, "")
		d := &dialogue{b: b, client: "172.16.0.9:4000", virtual: "10.2.0.1:80", cookie: got[0].Seq}
		d.opened(d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, ""))
		d.fromServer(layers.TCP{SYN: true, ACK: true, Seq: serverISN, Ack: clientISN + 1, Options: mss}, "")
		b.expectCounts("it is connected", map[string]uint64{"synproxy-answered": 1})
		if left := offered(b, "10.2.0.1:80"); len(left) != len(all) {
			t.Errorf("the next client is offered %v", left)
		}
	})
	t.Run("anything, once the proxy was off", func(t *testing.T) {
		b := newTestbed(t, proxyRules)
		all := offered(b, "10.2.0.1:80")
		b.fw.Load().Service(b.fw.Services()[0].Key).Offer.Learn(900, service.LacksStamps|service.LacksSACK)
		b.apply("synproxy -t 10.2.0.1:80 on")
		if left := offered(b, "10.2.0.1:80"); len(left) == len(all) {
			t.Errorf("to switch it on twice has it offer %v", left)
		}
		b.apply("synproxy -t 10.2.0.1:80 off\nsynproxy -t 10.2.0.1:80 on")
		if left := offered(b, "10.2.0.1:80"); !cmp.Equal(left[0], all[0]) || len(left) != len(all) {
			t.Errorf("the next client is offered %v", left)
		}
	})
}

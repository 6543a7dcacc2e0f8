package forwarder

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

func TestASYNIsAnsweredAndNothingIsKept(t *testing.T) {
	for _, v := range proxied {
		t.Run(v.name, func(t *testing.T) {
			b := newTestbed(t, proxyRules)
			got := b.say(1, v.client, v.virtual, layers.TCP{SYN: true, Seq: clientISN, Options: synOptions(500, 0)}, "")
			if len(got) != 1 || got[0].src != v.virtual || got[0].dst != v.client {
				t.Fatalf("out came %v", got)
			}
			mss := binary.BigEndian.Uint16(got[0].option(layers.TCPOptionKindMSS))
			want := map[string]uint16{"NAT": 1460, "FULLNAT": 1452, "NAT over IPv6": 1440, "FULLNAT over IPv6": 1420}[v.name]
			val, echo := got[0].stamps()
			if mss != want || val == 0 || echo != 500 || got[0].Window != firstWindow ||
				got[0].option(layers.TCPOptionKindSACKPermitted) == nil || got[0].option(layers.TCPOptionKindWindowScale)[0] != proxyScale {
				t.Errorf("MSS %d, want %d; %+v", mss, want, got[0].TCP)
			}
			b.expectCounts("it is counted", map[string]uint64{"syn-cookie": 1, "connections": 0, "synproxy-opening": 0})
		})
	}
}

func TestWhatIsNotOfferedIsNotAnswered(t *testing.T) {
	b := newTestbed(t, proxyRules)
	got := b.say(1, "172.16.0.9:4000", "10.2.0.1:80", layers.TCP{SYN: true, ECE: true, CWR: true, Seq: 1}, "early")
	if len(got) != 1 || len(got[0].Options) != 1 || got[0].ECE || got[0].Ack != 2 {
		t.Errorf("out came %v, %+v", got, got[0].Options)
	}
}

func TestTheTwoEndsTalkThroughTheProxy(t *testing.T) {
	for _, v := range proxied {
		t.Run(v.name, func(t *testing.T) {
			b := newTestbed(t, proxyRules)
			d := b.connect(v.client, v.virtual)
			got := d.fromServer(layers.TCP{ACK: true, Seq: serverISN + 1, Ack: clientISN + 1, Window: 300, Options: []layers.TCPOption{stamps(910, 501)}}, "hello")
			if len(got) != 1 || got[0].Seq != d.cookie+1 || got[0].Ack != clientISN+1 || got[0].src != v.virtual || got[0].dst != v.client {
				t.Fatalf("the client hears %v, want number %d", got, d.cookie+1)
			}
			if val, echo := got[0].stamps(); val != d.its+10 || echo != 501 {
				t.Errorf("the client hears time stamps %d, %d, want %d, 501", val, echo, d.its+10)
			}
			if want := uint16(300 << 9 >> proxyScale); got[0].Window != want {
				t.Errorf("the client hears window %d, want %d", got[0].Window, want)
			}
			edges := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, d.cookie+20), d.cookie+30)
			got = d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 6, Options: []layers.TCPOption{
				stamps(520, d.its+10), {OptionType: layers.TCPOptionKindSACK, OptionLength: 10, OptionData: edges}}}, "world")
			if len(got) != 1 || got[0].link != 2 || got[0].Seq != clientISN+1 || got[0].Ack != serverISN+6 || string(got[0].Payload) != "world" {
				t.Fatalf("the server hears %v", got)
			}
			if val, echo := got[0].stamps(); val != 520 || echo != 910 {
				t.Errorf("the server hears time stamps %d, %d", val, echo)
			}
			if s := got[0].option(layers.TCPOptionKindSACK); len(s) != 8 || binary.BigEndian.Uint32(s) != serverISN+20 || binary.BigEndian.Uint32(s[4:]) != serverISN+30 {
				t.Errorf("the server hears SACK %x", s)
			}
			b.expectCounts("each segment once", map[string]uint64{"syn-cookie": 1, "synproxy-opened": 1, "synproxy-answered": 1, "forward": 2})
			if c := b.fw.Connections(); len(c) != 1 || c[0].State != "ESTABLISHED" {
				t.Errorf("connections %+v", c)
			}
		})
	}
}

// TestTheServerLearnsTheClientsAddress: by FULLNAT, from the segment that completes the
// handshake, whoever sends it.
func TestTheServerLearnsTheClientsAddress(t *testing.T) {
	for _, c := range []struct{ name, data string }{{"the director's ACK", ""}, {"data that waited", "hello"}} {
		t.Run(c.name, func(t *testing.T) {
			b := newTestbed(t, proxyRules)
			d := b.dial("172.16.0.9:4000", "10.2.0.3:80", c.data)
			got := d.accept()
			if len(got) != 1 || fmt.Sprintf("%x", got[0].option(254)) != "0fa0ac100009" || string(got[0].Payload) != c.data {
				t.Errorf("the server hears %v with %x", got, got[0].option(254))
			}
		})
	}
}

func TestASegmentWithoutACookieIsRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(b *testbed, d *dialogue)
		h       layers.TCP
		ack     uint32 // beyond the cookie
		out     string
		verdict frame.Verdict
	}{
		{"another number", nil, layers.TCP{ACK: true, Seq: clientISN + 1}, 1 << 20, "client RST", frame.CookieRefused},
		{"time stamps that were not offered", nil, layers.TCP{ACK: true, Seq: clientISN + 1, Options: []layers.TCPOption{{OptionType: 1}}}, 1, "client RST", frame.CookieRefused},
		{"a segment after one that was lost", nil, layers.TCP{ACK: true, Seq: clientISN + 500}, 1, "", frame.DropEarly},
		{"a cookie that is too old", func(b *testbed, _ *dialogue) { b.forgetCookies() },
			layers.TCP{ACK: true, Seq: clientISN + 1}, 1, "client RST", frame.CookieRefused},
		{"another client", func(_ *testbed, d *dialogue) { d.client = "172.16.0.10:4000" }, layers.TCP{ACK: true, Seq: clientISN + 1}, 1, "client RST", frame.CookieRefused},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTestbed(t, proxyRules)
			d := b.greet("172.16.0.9:4000", "10.2.0.1:80")
			if c.prepare != nil {
				c.prepare(b, d)
			}
			c.h.Ack = d.cookie + c.ack
			got := strings.Join(heardWords(d.fromClient(c.h, "x")), " ")
			if !strings.HasPrefix(got, c.out) || c.out == "" && got != "" || b.verdict(c.verdict) != 1 || b.fw.conns.Len() != 0 {
				t.Errorf("out came %q, %v counts %d, %d connections", got, c.verdict, b.verdict(c.verdict), b.fw.conns.Len())
			}
		})
	}
}

// opens the new one.
func TestAPortThatIsUsedAgain(t *testing.T) {
	for _, mode := range []int{0, 1} {
		b := newTestbed(t, proxyRules)
		b.sysctl("conn_reuse_mode", mode)
		d := b.connect("172.16.0.9:4000", "10.2.0.1:80")
		d.fromClient(layers.TCP{FIN: true, ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, "")
		d.fromServer(layers.TCP{FIN: true, ACK: true, Seq: serverISN + 1, Ack: clientISN + 2}, "")
		d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 2, Ack: d.cookie + 2}, "")
		d = b.connect("172.16.0.9:4000", "10.2.0.1:80")
		if got := d.fromServer(layers.TCP{ACK: true, Seq: serverISN + 1, Ack: clientISN + 1}, "x"); len(got) != 1 || got[0].Seq != d.cookie+1 {
			t.Errorf("conn_reuse_mode %d: the client hears %v", mode, got)
		}
	}
}

// TestAPortOfFULLNATIsFreeWhenTheConnectionIsOver: the ends of a proxied connection
// acknowledge each other in different numbers.
func TestAPortOfFULLNATIsFreeWhenAProxiedConnectionIsOver(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.connect("172.16.0.9:4000", "10.2.0.3:80")
	d.fromServer(layers.TCP{FIN: true, ACK: true, Seq: serverISN + 1, Ack: clientISN + 1}, "")
	d.fromClient(layers.TCP{FIN: true, ACK: true, Seq: clientISN + 1, Ack: d.cookie + 2}, "")
	d.fromServer(layers.TCP{ACK: true, Seq: serverISN + 2, Ack: clientISN + 2}, "")
	b.expectCounts("its port may be used again", map[string]uint64{"local-ports-live": 0, "local-ports-time-wait": 1})
}

func TestWhatAServerLacksIsNoLongerOffered(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.dial("172.16.0.9:4000", "10.2.0.1:80", "hello")
	mss := []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{1000 >> 8, 1000 & 255}}}
	got := d.fromServer(layers.TCP{SYN: true, ACK: true, Seq: serverISN, Ack: clientISN + 1, Options: mss}, "")
	if len(got) != 1 || got[0].Window != 65535 {
		t.Errorf("the server, which knows no scale, hears %v with window %d", got, got[0].Window)
	}
	if got := d.fromServer(layers.TCP{ACK: true, Seq: serverISN + 1, Ack: clientISN + 6, Window: 12800}, ""); got[0].Window != 100 {
		t.Errorf("the client, which was told one, hears window %d", got[0].Window)
	}
	got = b.say(1, "172.16.0.10:4000", "10.2.0.1:80", layers.TCP{SYN: true, Seq: 1, Options: synOptions(500, 0)}, "")
	if len(got[0].Options) != 1 || binary.BigEndian.Uint16(got[0].option(layers.TCPOptionKindMSS)) != 1000 {
		t.Errorf("the next client is offered %v", got[0].Options)
	}
}

func TestAnErrorAboutAReplyQuotesTheServersNumber(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.connect("172.16.0.9:4000", "10.2.0.1:80")
	out := b.send(2, b.segment(2, d.server, d.near, layers.TCP{ACK: true, Seq: serverISN + 1, Ack: clientISN + 1}, strings.Repeat("x", 1000)))
	router := tooBig(out[0].b, 800)
	copy(router[:6], clientLink.MAC[:])
	e := b.send(1, router)
	if len(e) != 1 || e[0].link != 2 {
		t.Fatalf("the server is not told: %v", b.words(e))
	}
	if got := binary.BigEndian.Uint32(e[0].b[frame.EthernetLen+28+24:]); got != serverISN+1 {
		t.Errorf("it is told of number %d, want %d", got, serverISN+1)
	}
}

// next: what waited for it is gone, the table is not.
func TestAFloodOfSYNsTakesNoMemory(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.connect("172.16.0.9:4000", "10.2.0.1:80")
	syn := b.segment(1, "172.16.0.1:1", "10.2.0.1:80", layers.TCP{SYN: true, Seq: clientISN, Options: synOptions(500, 0)}, "")
	w := b.workers[1]
	flood := func() {
		b.mem.far[1].Inject(syn, syn, syn, syn)
		n, _ := w.port.Recv(w.in[:])
		w.batch(w.in[:n])
	}
	for range porttest.Capacity {
		flood()
	}
	if n := testing.AllocsPerRun(200, flood); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
	if n := b.fw.conns.Len(); n != 1 {
		t.Errorf("%d connections", n)
	}
	b.collect()
	if got := d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, "x"); len(got) != 1 || got[0].link != 2 {
		t.Errorf("the established connection: %v", got)
	}
}

func TestAServiceWithASYNProxyTakesNoServerWhoseRepliesDoNotPass(t *testing.T) {
	const why = "a SYN proxy needs servers by masq or fullnat"
	for _, c := range []struct{ name, commands, refused string }{
		{"a server by DR is added", "-A -t 10.2.0.1:80 -s rr\nsynproxy -t 10.2.0.1:80 on", "-a -t 10.2.0.1:80 -r 10.1.0.1:80 -g"},
		{"a server by TUN is added", "-A -t 10.2.0.1:80 -s rr\nsynproxy -t 10.2.0.1:80 on", "-a -t 10.2.0.1:80 -r 10.1.0.1:80 -i"},
		{"a server is changed", proxyRules, "-e -t 10.2.0.1:80 -r 10.1.0.1:8080 -i"},
		{"the service has one by DR", "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -g", "synproxy -t 10.2.0.1:80 on"},
		{"the service has one by TUN", "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -i", "synproxy -t 10.2.0.1:80 on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTestbed(t, c.commands)
			before := fmt.Sprint(b.fw.Services())
			if err := b.try(c.refused); err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("error %v", err)
			}
			if after := fmt.Sprint(b.fw.Services()); after != before {
				t.Errorf("changed from %s to %s", before, after)
			}
		})
	}
}

func TestConnectionsGoOnWithoutTheProxy(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.connect("172.16.0.9:4000", "10.2.0.1:80")
	b.apply("-E -t 10.2.0.1:80 -s wrr")
	if !b.fw.Services()[0].SynProxy {
		t.Error("an edit of the service switches it off")
	}
	b.apply("synproxy -t 10.2.0.1:80 off")
	if got := d.fromServer(layers.TCP{ACK: true, Seq: serverISN + 1, Ack: clientISN + 1}, "x"); len(got) != 1 || got[0].Seq != d.cookie+1 {
		t.Errorf("the client hears %v", got)
	}
	if got := b.say(1, "172.16.0.9:4001", "10.2.0.1:80", layers.TCP{SYN: true, Seq: 1}, ""); len(got) != 1 || got[0].link != 2 {
		t.Errorf("a SYN brings %v", got)
	}
}

package forwarder

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

// proxyRules are a service by NAT, one by FULLNAT and both over IPv6, with SYN proxies.
const proxyRules = `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m
-A -t 10.2.0.3:80 -s rr
-a -t 10.2.0.3:80 -r 10.1.0.3:80 --fullnat
-A -t [fd00:2::1]:80 -s rr
-a -t [fd00:2::1]:80 -r [fd00:1::1]:80 -m
-A -t [fd00:2::3]:80 -s rr
-a -t [fd00:2::3]:80 -r [fd00:1::3]:80 --fullnat
synproxy -t 10.2.0.1:80 on
synproxy -t 10.2.0.3:80 on
synproxy -t [fd00:2::1]:80 on
synproxy -t [fd00:2::3]:80 on`

// heard is a TCP segment that came out of a link.
type heard struct {
	*layers.TCP
	link     int
	src, dst string
}

// String says what matters of it.
func (h heard) String() string {
	side := map[int]string{1: "client", 2: "server"}[h.link]
	return fmt.Sprintf("%s %s seq %d ack %d %q", side, frame.FlagNames(h.Contents[13]), h.Seq, h.Ack, h.Payload)
}

func (h heard) option(kind layers.TCPOptionKind) []byte {
	for _, o := range h.Options {
		if o.OptionType == kind {
			return o.OptionData
		}
	}
	return nil
}

// stamps returns the two time stamps, 0 if there are none.
func (h heard) stamps() (val, echo uint32) {
	if d := h.option(layers.TCPOptionKindTimestamps); len(d) == 8 {
		return binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:])
	}
	return 0, 0
}

// listen parses what came out.
func (b *testbed) listen(out []sent) (all []heard) {
	b.t.Helper()
	for _, s := range out {
		if err := frametest.Check(s.b, layers.LayerTypeEthernet); err != nil {
			b.t.Error(err)
		}
		p := gopacket.NewPacket(s.b, layers.LayerTypeEthernet, gopacket.Default)
		l4, ok := p.TransportLayer().(*layers.TCP)
		if !ok {
			b.t.Fatalf("no TCP segment: %v", p)
		}
		n := p.NetworkLayer().NetworkFlow()
		src, _ := netip.ParseAddr(n.Src().String())
		dst, _ := netip.ParseAddr(n.Dst().String())
		all = append(all, heard{l4, s.link, netip.AddrPortFrom(src, uint16(l4.SrcPort)).String(), netip.AddrPortFrom(dst, uint16(l4.DstPort)).String()})
	}
	return all
}

// say sends a TCP segment and returns what comes out.
func (b *testbed) say(link int, src, dst string, h layers.TCP, data string) []heard {
	b.t.Helper()
	return b.listen(b.send(link, b.segment(link, src, dst, h, data)))
}

func (b *testbed) segment(link int, src, dst string, h layers.TCP, data string) []byte {
	if h.Window == 0 {
		h.Window = 4096
	}
	return onLink(link, frametest.Packet{Src: src, Dst: dst, DF: true, Transport: &h, Data: data})
}

// synOptions are what Linux offers in a SYN.
func synOptions(val, echo uint32) []layers.TCPOption {
	return []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{1460 >> 8, 1460 & 255}},
		{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
		stamps(val, echo),
		{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{9}},
	}
}

func stamps(val, echo uint32) layers.TCPOption {
	return layers.TCPOption{OptionType: 8, OptionLength: 10,
		OptionData: binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, val), echo)}
}

// dialogue is a client and a server on the two sides of the SYN proxy.
type dialogue struct {
	b               *testbed
	client, virtual string
	near, server    string // the client's address and the server's own, as the server knows them
	cookie, its     uint32 // number and time stamp of the SYN that the client got
}

const clientISN, serverISN = 1000, 70000

// greet sends the client's SYN and takes the answer.
func (b *testbed) greet(client, virtual string) *dialogue {
	b.t.Helper()
	got := b.say(1, client, virtual, layers.TCP{SYN: true, Seq: clientISN, Options: synOptions(500, 0)}, "")
	if len(got) != 1 || got[0].link != 1 || !got[0].SYN || !got[0].ACK || got[0].Ack != clientISN+1 {
		b.t.Fatalf("the SYN is answered by %v", got)
	}
	d := &dialogue{b: b, client: client, virtual: virtual, cookie: got[0].Seq}
	d.its, _ = got[0].stamps()
	return d
}

// dial goes on until the server has the client's SYN.
func (b *testbed) dial(client, virtual, data string) *dialogue {
	b.t.Helper()
	d := b.greet(client, virtual)
	d.opened(d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, data))
	return d
}

func (d *dialogue) opened(got []heard) {
	d.b.t.Helper()
	if len(got) != 1 || got[0].link != 2 || !got[0].SYN || got[0].ACK || got[0].Seq != clientISN {
		d.b.t.Fatalf("the ACK brings %v, want a SYN for the server", got)
	}
	d.near, d.server = got[0].src, got[0].dst
}

// connect goes on until both ends are connected.
func (b *testbed) connect(client, virtual string) *dialogue {
	b.t.Helper()
	d := b.dial(client, virtual, "")
	if got := d.accept(); len(got) != 1 || got[0].link != 2 || !got[0].ACK || got[0].SYN || got[0].Seq != clientISN+1 || got[0].Ack != serverISN+1 {
		b.t.Fatalf("the server's answer brings %v, want its acknowledgement", got)
	}
	return d
}

// accept sends the server's answer.
func (d *dialogue) accept() []heard {
	d.b.t.Helper()
	return d.fromServer(layers.TCP{SYN: true, ACK: true, Seq: serverISN, Ack: clientISN + 1, Options: synOptions(900, 500)}, "")
}

func (d *dialogue) fromClient(h layers.TCP, data string) []heard {
	d.b.t.Helper()
	if h.Options == nil && d.its != 0 {
		h.Options = []layers.TCPOption{stamps(501, d.its)}
	}
	return d.b.say(1, d.client, d.virtual, h, data)
}

func (d *dialogue) fromServer(h layers.TCP, data string) []heard {
	d.b.t.Helper()
	return d.b.say(2, d.server, d.near, h, data)
}

// proxied are the services of proxyRules, with a client of each.
var proxied = []struct{ name, client, virtual string }{
	{"NAT", "172.16.0.9:4000", "10.2.0.1:80"},
	{"FULLNAT", "172.16.0.9:4000", "10.2.0.3:80"},
	{"NAT over IPv6", "[fd00:c::9]:4000", "[fd00:2::1]:80"},
	{"FULLNAT over IPv6", "[fd00:c::9]:4000", "[fd00:2::3]:80"},
}

// forgetCookies lets all cookies grow too old.
func (b *testbed) forgetCookies() { b.fw.cookies.Turn(cookieGeneration(b.fw.now()) + 2) }

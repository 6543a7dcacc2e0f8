package forwarder

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// behind has a worker handle a segment of the client as one that is behind another
// worker: after what it knew of the connection has changed.
func (d *dialogue) behind(h layers.TCP, data string, do func(*worker, *frame.Frame) frame.Verdict) []heard {
	d.b.t.Helper()
	w := d.b.workers[1]
	d.b.mem.far[1].Inject(d.b.segment(1, d.client, d.virtual, h, data))
	if n, err := w.port.Recv(w.in[:]); n != 1 || err != nil {
		d.b.t.Fatal(n, err)
	}
	w.begin()
	v := w.parser.Parse(&w.in[0])
	if v == frame.Continue {
		v = do(w, &w.in[0])
	}
	w.count(v)
	w.end()
	return d.b.listen(d.b.collect())
}

func (d *dialogue) conn() *conntrack.Conn {
	d.b.t.Helper()
	flow := frame.FlowOf(frame.ProtoTCP, netip.MustParseAddrPort(d.client), netip.MustParseAddrPort(d.virtual))
	c, _ := d.b.workers[1].reader.Lookup(&flow)
	if c == nil {
		d.b.t.Fatal("there is no connection")
	}
	return c
}

func (d *dialogue) data() layers.TCP {
	return layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1, Options: []layers.TCPOption{stamps(501, d.its)}}
}

// One worker has found that the connection waits for its server, then another completes it.
func TestDataThatCrossesTheServersAnswerGoesToTheServer(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.dial("172.16.0.9:4000", "10.2.0.1:80", "")
	c := d.conn()
	h, _ := b.fw.conns.Opening(c)
	d.accept()
	got := d.behind(d.data(), "hello", func(w *worker, f *frame.Frame) frame.Verdict { return w.early(f, c, h) })
	if want := []string{`server ACK seq 1001 ack 70001 "hello"`}; !cmp.Equal(heardWords(got), want) || d.conn() != c {
		t.Errorf("out came %v, want %v, and the connection to stay", got, want)
	}
}

// One worker finds no connection, then another opens it and has the server's answer.
func TestACookieThatCrossesTheServersAnswerOpensNothing(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.connect("172.16.0.9:4000", "10.2.0.1:80")
	c := d.conn()
	got := d.behind(d.data(), "hello", (*worker).openConn)
	if len(got) != 0 || len(b.fw.openings.all) != 0 || d.conn() != c {
		t.Errorf("out came %v, %d openings", got, len(b.fw.openings.all))
	}
}

// One worker has inserted the connection, and another finds it before its SYN leaves.
func TestDataThatComesBeforeTheSYNLeavesIsLeftToTheClientToRepeat(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.dial("172.16.0.9:4000", "10.2.0.1:80", "")
	c := d.conn()
	p := b.fw.openings.take(b.fw.conns.Ref(c))
	if got := d.fromClient(d.data(), "hello"); len(got) != 0 || d.conn() != c || b.verdict(frame.DropEarly) != 1 {
		t.Fatalf("out came %v", got)
	}
	if !b.fw.openings.begin(b.fw.conns, c, p) || b.fw.openings.begin(b.fw.conns, c, p) {
		t.Error("the connection is not the first worker's")
	}
}

// TestAnAdoptedConnectionThatNobodyCompletesIsReset: neither its client nor its server
// says anything after a restart.
func TestAnAdoptedConnectionThatNobodyCompletesIsReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestarts(t, proxyRules)
		d := r.dial("172.16.0.9:4000", "10.2.0.1:80", "hello")
		r.restart(proxyRules)
		if got := r.pass(14900 * time.Millisecond); len(got) != 0 {
			t.Errorf("out came %v", got)
		}
		want := []string{fmt.Sprintf("client 10.2.0.1>172.16.0.9 tcp 80>4000 RST seq %d ack 0", d.cookie+1)}
		if diff := cmp.Diff(want, r.pass(300*time.Millisecond)); diff != "" {
			t.Errorf("then (-want +got):\n%s", diff)
		}
		r.expectCounts("given up", map[string]uint64{"synproxy-unanswered": 1, "synproxy-opening": 0, "connections": 0})
	})
}

// TestAHeldSegmentIsCountedWhole: it takes more memory than its data.
func TestAHeldSegmentIsCountedWhole(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.dial("172.16.0.9:4000", "10.2.0.1:80", "")
	before := b.fw.openings.bytes
	for i := range uint32(heldSegments) {
		d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1 + i, Ack: d.cookie + 1}, "x")
	}
	if each := (b.fw.openings.bytes - before) / heldSegments; before < openingSize || each < frameSize+frame.Headroom+60 {
		t.Errorf("the opening counts %d bytes, and a segment of one byte %d", before, each)
	}
	d.accept()
	if o := &b.fw.openings; o.bytes != 0 || len(o.shares) != 0 {
		t.Errorf("%d bytes are still counted, of %v", o.bytes, o.shares)
	}
	if n := b.fw.openings.queues[1].Len(); n != 0 {
		t.Errorf("%d are still to be sent again", n)
	}
}

// TestDeadServersOfOneServiceLeaveRoomForOthers: however many of its clients wait.
func TestDeadServersOfOneServiceLeaveRoomForOthers(t *testing.T) {
	var o openings
	fill := func(service config.Key, bytes int) (n int) {
		for p := (&opening{service: service, bytes: bytes}); o.room(p); n++ {
			o.add(conntrack.Ref(len(o.all)+1), p)
		}
		return n
	}
	for i, want := range []int{openingsMax / 2, openingsMax / 4, openingsMax / 8} {
		if got := fill(config.Key{Port: uint16(i)}, 1); got != want {
			t.Errorf("service %d has room for %d, want %d", i, got, want)
		}
	}
	o = openings{}
	for i, want := range []int{512, 256, 128} {
		if got := fill(config.Key{Port: uint16(i)}, openingsBytes/1024); got != want {
			t.Errorf("service %d has room for %d large ones, want %d", i, got, want)
		}
	}
	for ref := range o.all {
		o.take(ref)
	}
	if o.bytes != 0 || len(o.shares) != 0 {
		t.Errorf("%d bytes are still counted, of %v", o.bytes, o.shares)
	}
}

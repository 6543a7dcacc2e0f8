package forwarder

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
)

func TestDataWaitsForTheServer(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.dial("172.16.0.9:4000", "10.2.0.1:80", "one")
	for _, s := range []struct {
		why, data string
		seq       uint32
		fin       bool
		counter   string
	}{
		{"it follows", "two", clientISN + 4, false, "waiting"},
		{"it came before", "two", clientISN + 4, false, "drop-early"},
		{"one before it is missing", "four", clientISN + 20, false, "drop-early"},
		{"it says nothing", "", clientISN + 7, false, "drop-early"},
		{"there is more than the window", strings.Repeat("x", firstWindow-5), clientISN + 7, false, "drop-early"},
		{"the end follows", "three", clientISN + 7, true, "waiting"},
	} {
		before := b.fw.Counters()[s.counter]
		if got := d.fromClient(layers.TCP{ACK: true, FIN: s.fin, Seq: s.seq, Ack: d.cookie + 1}, s.data); len(got) != 0 {
			t.Errorf("%s: out came %v", s.why, got)
		}
		if b.fw.Counters()[s.counter] != before+1 {
			t.Errorf("%s: not counted as %s", s.why, s.counter)
		}
	}
	want := []string{
		`server ACK seq 1001 ack 70001 "one"`,
		`server ACK seq 1004 ack 70001 "two"`,
		`server FIN,ACK seq 1007 ack 70001 "three"`,
	}
	if diff := cmp.Diff(want, heardWords(d.accept())); diff != "" {
		t.Errorf("the server hears (-want +got):\n%s", diff)
	}
	b.expectCounts("nothing waits any more", map[string]uint64{"synproxy-opening": 0, "drop-early": 4, "queued": 2, "waiting": 0})
	if b.fw.openings.bytes != 0 {
		t.Errorf("%d bytes are still counted", b.fw.openings.bytes)
	}
}

func heardWords(all []heard) (text []string) {
	for _, h := range all {
		text = append(text, h.String())
	}
	return text
}

func TestAServerThatRefusesIsHeard(t *testing.T) {
	for _, v := range proxied {
		t.Run(v.name, func(t *testing.T) {
			b := newTestbed(t, proxyRules)
			d := b.dial(v.client, v.virtual, "hello")
			got := d.fromServer(layers.TCP{RST: true, ACK: true, Seq: 0, Ack: clientISN + 1}, "")
			if len(got) != 1 || got[0].link != 1 || !got[0].RST || got[0].Seq != d.cookie+1 || got[0].Ack != clientISN+1 {
				t.Errorf("the client hears %v, want a reset with number %d", got, d.cookie+1)
			}
			b.expectCounts("it is over", map[string]uint64{"synproxy-resets": 1, "synproxy-opening": 0})
		})
	}
}

func TestAServerThatDoesNotAnswerIsAskedAgainThenGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, proxyRules)
		d := b.dial("172.16.0.9:4000", "10.2.0.3:80", "hello")
		local := d.near[strings.LastIndex(d.near, ":")+1:]
		syn := "server 10.1.255.254>10.1.0.3 tcp " + local + ">80 SYN seq 1000 ack 0"
		for _, step := range []struct {
			d    time.Duration
			want []string
		}{
			{900 * time.Millisecond, nil},
			{300 * time.Millisecond, []string{syn}},
			{1700 * time.Millisecond, nil},
			{300 * time.Millisecond, []string{syn}},
			{3700 * time.Millisecond, nil},
			{300 * time.Millisecond, []string{syn}},
			{7700 * time.Millisecond, nil},
			{400 * time.Millisecond, []string{fmt.Sprintf("client 10.2.0.3>172.16.0.9 tcp 80>4000 RST,ACK seq %d ack 1006", d.cookie+1)}},
			{20 * time.Second, nil},
		} {
			if diff := cmp.Diff(step.want, b.pass(step.d)); diff != "" {
				t.Errorf("after %v more (-want +got):\n%s", step.d, diff)
			}
		}
		b.expectCounts("given up", map[string]uint64{"synproxy-retries": 3, "synproxy-unanswered": 1, "synproxy-opening": 0, "waiting": 0, "connections": 0, "local-ports-live": 0})
	})
}

func TestAClientThatGivesUpTakesTheServerWithIt(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.dial("172.16.0.9:4000", "10.2.0.1:80", "hello")
	if got := d.fromClient(layers.TCP{RST: true, Seq: clientISN + 100000}, ""); len(got) != 0 {
		t.Errorf("a forged reset brings %v", got)
	}
	got := d.fromClient(layers.TCP{RST: true, Seq: clientISN + 6}, "")
	if len(got) != 1 || got[0].link != 2 || !got[0].RST || b.fw.conns.Len() != 0 || len(b.fw.openings.all) != 0 {
		t.Errorf("out came %v, %d connections left", got, b.fw.conns.Len())
	}
}

// TestAServerWithAnOldConnectionFromThePort: it is reset, and the SYN that comes again
func TestAServerWithAnOldConnectionFromThePortIsReset(t *testing.T) {
	b := newTestbed(t, proxyRules)
	d := b.dial("172.16.0.9:4000", "10.2.0.1:80", "")
	got := d.fromServer(layers.TCP{ACK: true, Seq: 5, Ack: 4711}, "")
	if len(got) != 1 || got[0].link != 2 || !got[0].RST || got[0].Seq != 4711 {
		t.Fatalf("its acknowledgement brings %v", got)
	}
	if got := d.accept(); len(got) != 1 || got[0].Ack != serverISN+1 {
		t.Errorf("then its SYN brings %v", got)
	}
}

// TestAClientIsResetIfItsConnectionCannotBe: by its own account it has one.
func TestAClientIsResetIfItsConnectionCannotBe(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*testbed)
		verdict frame.Verdict
	}{
		{"no server takes new ones", func(b *testbed) { b.ipvsadm("-e -t 10.2.0.1:80 -r 10.1.0.1:8080 -m -w 0") }, frame.DropNoServer},
		{"the table is full", func(b *testbed) {
			for i := range 8 {
				b.connect(fmt.Sprintf("172.16.1.%d:4000", i), "10.2.0.1:80")
			}
		}, frame.DropConnTableFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTestbedOf(t, proxyRules, 8)
			c.prepare(b)
			d := b.greet("172.16.0.9:4000", "10.2.0.1:80")
			got := d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, "")
			if len(got) != 1 || got[0].link != 1 || !got[0].RST || got[0].Seq != d.cookie+1 || b.verdict(c.verdict) != 1 {
				t.Errorf("out came %v, %v counts %d", got, c.verdict, b.verdict(c.verdict))
			}
		})
	}
}

// TestARestartInTheMidst: what waited for the server is gone, the table and the secrets
// are not.
func TestARestartInTheMidst(t *testing.T) {
	const client, virtual = "172.16.0.9:4000", "10.2.0.1:80"
	hello := func(d *dialogue) []heard {
		return d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, "hello")
	}
	heardBy := func(t *testing.T, d *dialogue, got []heard) {
		t.Helper()
		if len(got) != 1 || got[0].link != 2 || string(got[0].Payload) != "hello" || got[0].Ack != serverISN+1 {
			t.Errorf("the server hears %v", got)
		}
	}
	for name, test := range map[string]func(t *testing.T, r *restarts){
		"after the SYN": func(t *testing.T, r *restarts) {
			d := r.greet(client, virtual)
			r.restart(proxyRules)
			d.b = r.testbed
			d.opened(hello(d))
			heardBy(t, d, d.accept())
		},
		"after the ACK, and the client repeats its data": func(t *testing.T, r *restarts) {
			d := r.dial(client, virtual, "hello")
			r.restart(proxyRules)
			d.b = r.testbed
			d.opened(hello(d))
			heardBy(t, d, d.accept())
		},
		"after the ACK, and the cookie is too old": func(t *testing.T, r *restarts) {
			d := r.dial(client, virtual, "hello")
			r.restart(proxyRules)
			d.b = r.testbed
			d.b.forgetCookies()
			if got := hello(d); len(got) != 1 || got[0].link != 1 || !got[0].RST || r.fw.conns.Len() != 0 {
				t.Errorf("out came %v", got)
			}
		},
		"after the ACK, and the server answers": func(t *testing.T, r *restarts) {
			d := r.dial(client, virtual, "")
			r.restart(proxyRules)
			d.b = r.testbed
			if got := d.accept(); len(got) != 1 || got[0].link != 1 || got[0].Seq != d.cookie {
				t.Fatalf("out came %v, want the SYN for the client", got)
			}
			heardBy(t, d, hello(d))
		},
		"after the server's answer": func(t *testing.T, r *restarts) {
			d := r.connect(client, virtual)
			r.restart(proxyRules)
			d.b = r.testbed
			heardBy(t, d, hello(d))
		},
	} {
		t.Run(name, func(t *testing.T) { test(t, newRestarts(t, proxyRules)) })
	}
}

func TestWhatWaitsIsBounded(t *testing.T) {
	b := newTestbed(t, proxyRules)
	b.fw.openings.bytes = openingsBytes - 3
	d := b.greet("172.16.0.9:4000", "10.2.0.1:80")
	got := d.fromClient(layers.TCP{ACK: true, Seq: clientISN + 1, Ack: d.cookie + 1}, "hello")
	if len(got) != 1 || !got[0].RST || b.verdict(frame.DropNoMemory) != 1 {
		t.Errorf("out came %v", got)
	}
}

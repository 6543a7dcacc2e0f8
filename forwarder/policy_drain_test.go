package forwarder

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/layers"

	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"
)

func TestDrainHasAnEnd(t *testing.T) {
	for _, leave := range []string{
		"-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0",
		"-d -t 10.2.0.1:80 -r 10.1.0.2:8080",
	} {
		for _, c := range []struct {
			policy string
			want   []string
			counts map[string]uint64
		}{
			{"--drain 30s", nil, map[string]uint64{"drop-server-gone": 1, "policy-ended": 1}},
			{"--drain 30s --gone icmp", []string{"client 10.2.0.1>172.16.0.9 DestinationUnreachable(Host)"}, map[string]uint64{"gone-icmp": 1, "policy-ended": 1}},
			{"--drain 30s --gone reset", []string{"client 10.2.0.1>172.16.0.9 tcp 80>30001 RST seq 5001 ack 0", "server 172.16.0.9>10.1.0.2 tcp 30001>8080 RST,ACK seq 1000 ack 5001"},
				map[string]uint64{"gone-reset": 1, "policy-ended": 1}},
		} {
			t.Run(leave[:2]+" "+c.policy, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 "+c.policy)
					b.open(aClient, aVirtual)
					b.apply(leave)
					b.pass(29900 * time.Millisecond)
					b.expectFull("until the deadline packets pass", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
						"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
					time.Sleep(200 * time.Millisecond) // no housekeeping: the worker sees the deadline itself
					b.expectFull("then they do not", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"), c.want...)
					b.expectCounts("the end", c.counts)
					if n := b.fw.conns.Len(); n != 0 {
						t.Errorf("%d connections are left", n)
					}
				})
			})
		}
	}
}

func TestSilentConnectionsEndWithTheDrain(t *testing.T) {
	for _, policy := range []string{"drop", "icmp", "reset"} {
		synctest.Test(t, func(t *testing.T) {
			b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --drain 10 --gone "+policy)
			b.open(aClient, aVirtual)
			b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0")
			b.pass(9 * time.Second)
			if s := b.fw.Services()[0].Servers[1]; b.fw.conns.Len() != 1 || s.DrainLeft < 900 || s.DrainLeft > 1100 {
				t.Errorf("%s: after 9 s of 10 there are %d connections, %d ms to go", policy, b.fw.conns.Len(), s.DrainLeft)
			}
			out := b.pass(5 * time.Second)
			if asked := len(out); (asked > 0) != (policy == "reset") {
				t.Errorf("%s: the client was sent %q", policy, out)
			}
			if s := b.fw.Services()[0].Servers[1]; b.fw.conns.Len() != 0 || s.Active+s.Inactive != 0 {
				t.Errorf("%s: %d connections are left, the server counts %d", policy, b.fw.conns.Len(), s.Active+s.Inactive)
			}
			if b.fw.HasDraining.Load() {
				t.Errorf("%s: the table is still gone through", policy)
			}
		})
	}
}

func TestADrainThatIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --drain 10 --gone reset")
		b.open(aClient, aVirtual)
		b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0")
		b.pass(9 * time.Second)
		b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 1")
		b.pass(20 * time.Second)
		b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0")
		b.pass(9 * time.Second)
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080") // it drains since it was quiesced, not since now
		b.expectFull("a new time begins with the second drain", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
		b.pass(1100 * time.Millisecond)
		b.apply("-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m") // in the connection's last seconds
		b.expectFull("and ends with the server's return", 1, at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"),
			"server 172.16.0.9>10.1.0.2 tcp 30001>8080 ACK seq 1000 ack 5001")
		b.pass(20 * time.Second)
		if n := b.fw.conns.Len(); n != 1 {
			t.Errorf("the connection of a server that came back has ended")
		}
		b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
		if b.pass(10*time.Second - 100*time.Millisecond); b.fw.conns.Len() != 1 {
			t.Errorf("the third drain has not its 10 s")
		}
		if out := b.pass(300 * time.Millisecond); len(out) != 1 {
			t.Errorf("at its end the client was sent %q, want one question", out)
		}
	})
}

// Persistence keeps a client at a draining server until the drain ends.
func TestTemplatesEndWithTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTestbed(t, strings.Replace(policyTCP, "-s rr", "-s rr -p", 1)+"policy -t 10.2.0.1:80 --drain 10 --gone reset")
		b.open(aClient, aVirtual)
		b.apply("-e -t 10.2.0.1:80 -r 10.1.0.2:8080 -m -w 0")
		b.expectFull("the client's next connection goes where its first one is", 1, at(t, 1, "172.16.0.9:30002", aVirtual, syn, 1, 0, ""),
			"server 172.16.0.9>10.1.0.2 tcp 30002>8080 SYN seq 1 ack 0")
		time.Sleep(11 * time.Second)
		b.expectFull("after the deadline elsewhere", 1, at(t, 1, "172.16.0.9:30003", aVirtual, syn, 1, 0, ""),
			"server 172.16.0.9>10.1.0.1 tcp 30003>8080 SYN seq 1 ack 0")
		b.pass(6 * time.Second)
		if n := b.fw.Services()[0].Servers[1]; n.Persistent != 0 || n.Active+n.Inactive != 0 {
			t.Errorf("the drained server counts %d templates and %d connections, want none", n.Persistent, n.Active+n.Inactive)
		}
	})
}

const policyUDP = `
-A -u 10.2.0.1:53 -s rr
-a -u 10.2.0.1:53 -r 10.1.0.1:5353 -m
-a -u 10.2.0.1:53 -r 10.1.0.2:5353 -m
`

func TestUDPFlowsOfServersThatGo(t *testing.T) {
	const (
		old  = "server 172.16.0.9>10.1.0.2 udp 40000>5353"
		next = "server 172.16.0.9>10.1.0.1 udp 40000>5353"
		port = "client 10.2.0.1>172.16.0.9 DestinationUnreachable(Port)"
	)
	quiesce, remove := "-e -u 10.2.0.1:53 -r 10.1.0.2:5353 -m -w 0", "-d -u 10.2.0.1:53 -r 10.1.0.2:5353"
	for _, c := range []struct {
		name, policy, leave string
		want                []string // of two datagrams
	}{
		{"as in IPVS a flow stays with a quiesced server", "", quiesce, []string{old, old}},
		{"and is dropped for a removed one", "", remove, nil},
		{"reset tells once, then the flow is a new one", "--gone reset", remove, []string{port, next}},
		{"icmp tells every time", "--gone icmp", remove, []string{"client 10.2.0.1>172.16.0.9 DestinationUnreachable(Host)", "client 10.2.0.1>172.16.0.9 DestinationUnreachable(Host)"}},
		{"reset has nothing to do while the server is there", "--gone reset", quiesce, []string{old, old}},
		{"scheduled anew when removed", "--udp-reschedule", remove, []string{next, next}},
		{"scheduled anew when quiesced", "--udp-reschedule", quiesce, []string{next, next}},
		{"rather than told", "--udp-reschedule --gone reset", remove, []string{next, next}},
		{"or left to drain", "--udp-reschedule --drain 60", quiesce, []string{next, next}},
	} {
		for _, persistent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", c.name, persistent), func(t *testing.T) {
				rules := policyUDP
				if persistent {
					rules = strings.Replace(rules, "-s rr", "-s rr -p", 1)
				}
				b := newTestbed(t, rules+"policy -u 10.2.0.1:53 "+c.policy)
				b.expectFull("the first datagram", 1, dgram(t, 1, "172.16.0.9:40000", "10.2.0.1:53", "x"), old)
				b.apply(c.leave)
				d := dgram(t, 1, "172.16.0.9:40000", "10.2.0.1:53", "x")
				if diff := cmp.Diff(c.want, b.inFull(b.send(1, d, d))); diff != "" { // in one batch
					t.Errorf("two datagrams (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestSCTPIsAborted(t *testing.T) {
	for _, c := range []struct{ client, virtual, real, src, dst, atServer string }{
		{"172.16.0.9:30001", "10.2.0.1:80", "10.1.0.1:80", "10.2.0.1", "172.16.0.9", "172.16.0.9>10.1.0.1"},
		{"[fd00:c::9]:30001", "[fd00:2::1]:80", "[fd00:1::1]:80", "fd00:2::1", "fd00:c::9", "fd00:c::9>fd00:1::1"},
	} {
		service := "--sctp-service " + c.virtual
		b := newTestbed(t, "-A "+service+" -s rr\n-a "+service+" -m -r "+c.real+"\npolicy "+service+" --gone reset")
		b.send(1, sctpPacket(c.client, c.virtual, 0, layers.SCTPChunkTypeInit))
		b.apply("-d " + service + " -r " + c.real)
		b.expectFull("a HEARTBEAT for a removed server", 1, sctpPacket(c.client, c.virtual, 77, layers.SCTPChunkTypeHeartbeat),
			"client "+c.src+">"+c.dst+" sctp 80>30001 tag 77 Abort flags 1",
			"server "+c.atServer+" sctp 30001>80 tag 77 Abort flags 0")
	}
}

func sctpPacket(src, dst string, tag uint32, chunk layers.SCTPChunkType) []byte {
	return onLink(1, frametest.Packet{Src: src, Dst: dst, Transport: &layers.SCTP{VerificationTag: tag},
		Data: string([]byte{byte(chunk), 0, 0, 20, 15: 0, 19: 0})})
}

func TestTraceNamesThePolicy(t *testing.T) {
	b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset")
	b.open(aClient, aVirtual)
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
	w := b.workers[1]
	b.mem.far[1].Inject(at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data"))
	n, err := w.port.Recv(w.in[:])
	if err != nil {
		t.Fatal(err)
	}
	w.begin()
	w.parse(w.in[:n])
	w.lookup(w.in[:n])
	w.rec = &record{}
	v := w.forward(&w.in[0], w.verdict[0], conntrack.Found{})
	var steps []string
	for _, s := range w.rec.Steps {
		steps = append(steps, s.Stage+" "+s.What)
	}
	w.rec = nil
	w.end()
	if want := "policy the server is gone: reset"; v != frame.GoneReset || !strings.Contains(strings.Join(steps, "\n"), want) {
		t.Errorf("verdict %s, steps\n%s\nwant a step %q", v, strings.Join(steps, "\n"), want)
	}
}

// While all servers of a service are configured, its policy changes nothing for packets, and
// allocates nothing.
func TestPolicyCostsNothing(t *testing.T) {
	b := newTestbed(t, policyTCP+"policy -t 10.2.0.1:80 --gone reset --drain 30 --udp-reschedule")
	b.open(aClient, aVirtual)
	for _, server := range slices.Collect(b.fw.Load().All())[0].Servers {
		if server.NeedsPolicy.Load() || server.HasDrainEnd() {
			t.Errorf("%s is said to leave", server.Addr)
		}
	}
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080") // drains
	w, p := b.workers[1], at(t, 1, aClient, aVirtual, ack, 1000, 5001, "data")
	if n := testing.AllocsPerRun(100, func() {
		b.mem.far[1].Inject(p)
		n, _ := w.port.Recv(w.in[:])
		w.batch(w.in[:n])
		b.mem.far[2].Recv(w.in[:])
	}); n > 0 {
		t.Errorf("a packet to a server that drains takes %v allocations", n)
	}
}

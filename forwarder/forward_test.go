package forwarder

import (
	"strings"
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

const twoByNAT = `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:8080 -m
-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m
-A -u 10.2.0.1:53 -s rr
-a -u 10.2.0.1:53 -r 10.1.0.1:5353 -m
`

func TestNAT(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	b.expect("a SYN goes to the server added last, whose port is mapped", 1,
		seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, ""),
		"server 02:00:00:01:00:02 172.16.0.9>10.1.0.2 tcp 30001>8080")
	b.expect("the server's SYN,ACK comes from the virtual service", 2,
		seg(t, 2, "10.1.0.2:8080", "172.16.0.9:30001", frame.FlagSYN|frame.FlagACK, ""),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 80>30001")
	b.expect("data of the connection stays with its server", 1,
		seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagACK|frame.FlagPSH, "GET /"),
		"server 02:00:00:01:00:02 172.16.0.9>10.1.0.2 tcp 30001>8080")
	b.expect("the next connection goes to the other server", 1,
		seg(t, 1, "172.16.0.9:30002", "10.2.0.1:80", frame.FlagSYN, ""),
		"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 tcp 30002>8080")
	b.expect("an ACK of no connection is reset, as the host would", 1,
		seg(t, 1, "172.16.0.9:30003", "10.2.0.1:80", frame.FlagACK, ""),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 80>30003")
	b.expect("a datagram is translated too", 1,
		dgram(t, 1, "172.16.0.9:40000", "10.2.0.1:53", "question"),
		"server 02:00:00:01:00:01 172.16.0.9>10.1.0.1 udp 40000>5353")
	b.expect("a packet for another address is left to the host", 1,
		seg(t, 1, "172.16.0.9:30001", "10.9.0.1:80", frame.FlagSYN, ""))

	state := b.fw.Services()
	if s := state[0]; s.Servers[1].Active != 1 || s.Servers[0].Active != 1 {
		t.Errorf("active connections %d and %d, want 1 and 1", s.Servers[0].Active, s.Servers[1].Active)
	}
}

func TestFramesForOthersAreLeftAlone(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	for _, mac := range [][6]byte{{2, 0, 0, 9, 9, 9}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}} {
		p := seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, "")
		copy(p, mac[:])
		b.expect("a frame to another MAC address or to all is not forwarded", 1, p)
	}
}

func TestNoServerIsPortUnreachable(t *testing.T) {
	b := newTestbed(t, "-A -t 10.2.0.1:80 -s rr")
	b.expect("a service without a server answers for TCP as for UDP", 1,
		seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, ""),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 DestinationUnreachable(Port)")
}

func TestRemovedServer(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	syn := seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, "")
	b.send(1, syn)
	b.apply("-d -t 10.2.0.1:80 -r 10.1.0.2:8080")
	b.expect("packets to a removed server are dropped", 1, syn)
	if n := b.verdict(frame.DropServerGone); n != 1 {
		t.Errorf("drop-server-gone counts %d, want 1", n)
	}
	b.expect("its replies are still translated", 2,
		seg(t, 2, "10.1.0.2:8080", "172.16.0.9:30001", frame.FlagSYN|frame.FlagACK, ""),
		"client 02:00:00:02:00:01 10.2.0.1>172.16.0.9 tcp 80>30001")
	b.apply("-a -t 10.2.0.1:80 -r 10.1.0.2:8080 -m")
	b.expect("a server added again has its connections back", 1, syn,
		"server 02:00:00:01:00:02 172.16.0.9>10.1.0.2 tcp 30001>8080")
}

func TestDirectRouting(t *testing.T) {
	b := newTestbed(t, `
-A -t 10.2.0.5:80 -s rr
-a -t 10.2.0.5:80 -r 10.1.0.1:80 -g`)
	b.expect("only the MAC address changes", 1,
		seg(t, 1, "172.16.0.9:30001", "10.2.0.5:80", frame.FlagSYN, ""),
		"server 02:00:00:01:00:01 172.16.0.9>10.2.0.5 tcp 30001>80")
}

func TestTunnel(t *testing.T) {
	b := newTestbed(t, `
-A -t 10.2.0.6:80 -s rr
-a -t 10.2.0.6:80 -r 10.1.0.1:80 -i`)
	b.expect("an outer header goes in front", 1,
		seg(t, 1, "172.16.0.9:30001", "10.2.0.6:80", frame.FlagSYN, ""),
		"server 02:00:00:01:00:01 10.1.255.254>10.1.0.1 172.16.0.9>10.2.0.6 tcp 30001>80")
}

// A worker that runs out of buffers in the middle of a super-frame counts that, although
// the first segments were sent.
func TestLostSegmentsAreCounted(t *testing.T) {
	b := newTestbed(t, `
-A -t 10.2.0.6:80 -s rr
-a -t 10.2.0.6:80 -r 10.1.0.1:80 -i`)
	b.send(1, seg(t, 1, "172.16.0.9:30001", "10.2.0.6:80", frame.FlagSYN, ""))
	w := b.workers[1]
	for w.arena.alloc(arenaChunk-2*frame.Headroom) != nil {
	}
	w.arena.chunk, w.arena.used = arenaChunks-1, arenaChunk-4096
	whole := seg(t, 1, "172.16.0.9:30001", "10.2.0.6:80", frame.FlagACK, strings.Repeat("x", 14000))
	b.mem.far[1].InjectFrames(porttest.Frame{Bytes: whole, Offload: frame.Offload{GSOType: frame.GSOTCP4, GSOSize: 1400}})
	if out := b.receive(1); len(out) == 0 || len(out) == 10 {
		t.Errorf("%d of 10 segments went out, want some", len(out))
	}
	if n := b.verdict(frame.DropNoMemory); n != 1 {
		t.Errorf("drop-no-memory counts %d, want 1", n)
	}
}

func TestFullNAT(t *testing.T) {
	b := newTestbed(t, `
-A -t 10.2.0.7:80 -s rr
--add-laddr -t 10.2.0.7:80 --laddr 10.1.200.1
-a -t 10.2.0.7:80 -r 10.1.0.1:80 --fullnat`)
	out := b.words(b.send(1, seg(t, 1, "172.16.0.9:30001", "10.2.0.7:80", frame.FlagSYN, "")))
	if len(out) != 1 || !strings.HasPrefix(out[0], "server 02:00:00:01:00:01 10.1.200.1>10.1.0.1 tcp ") {
		t.Fatalf("request went out as %q", out)
	}
	local := b.fw.Connections()[0].Local
	b.expect("the reply to the local address goes to the client", 2,
		seg(t, 2, "10.1.0.1:80", local.String(), frame.FlagSYN|frame.FlagACK, ""),
		"client 02:00:00:02:00:01 10.2.0.7>172.16.0.9 tcp 80>30001")
}

func TestOneBatchOpensOneConnection(t *testing.T) {
	b := newTestbed(t, twoByNAT)
	syn := seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, "")
	out := b.words(b.send(1, syn, syn, syn))
	if len(out) != 3 || out[0] != out[1] || out[1] != out[2] {
		t.Fatalf("three SYNs of one flow in a batch went to %q", out)
	}
	if n := b.fw.conns.Len(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// TestEstablishedFlowDoesNotAllocate covers the whole path between Recv and
// Send, in both directions, for every forwarding method.
func TestEstablishedFlowDoesNotAllocate(t *testing.T) {
	b := newTestbed(t, twoByNAT+`
-A -t 10.2.0.5:80 -s rr
-a -t 10.2.0.5:80 -r 10.1.0.1:80 -g
-A -t 10.2.0.6:80 -s rr
-a -t 10.2.0.6:80 -r 10.1.0.1:80 -i
-A -t 10.2.0.7:80 -s rr
--add-laddr -t 10.2.0.7:80 --laddr 10.1.200.1
-a -t 10.2.0.7:80 -r 10.1.0.1:80 --fullnat`)
	var packets [][]byte
	for _, vip := range []string{"10.2.0.1:80", "10.2.0.5:80", "10.2.0.6:80", "10.2.0.7:80"} {
		b.send(1, seg(t, 1, "172.16.0.9:30001", vip, frame.FlagSYN, ""))
		packets = append(packets, seg(t, 1, "172.16.0.9:30001", vip, frame.FlagACK, "data"))
	}
	w := b.workers[1]
	round := func() {
		b.mem.far[1].Inject(packets...)
		n, _ := w.port.Recv(w.in[:])
		w.batch(w.in[:n])
	}
	for range porttest.Capacity/len(packets) + 1 { // until the far ends are full and take no more memory
		round()
	}
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

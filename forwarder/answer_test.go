package forwarder

import (
	"net"
	"strings"
	"testing"

	"github.com/google/gopacket/layers"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

// echo is an echo request with n bytes of data.
func echo(link int, src, dst string, n int) []byte {
	kind := uint8(layers.ICMPv4TypeEchoRequest)
	if strings.Contains(src, ":") {
		kind = layers.ICMPv6TypeEchoRequest
	}
	return icmp(link, src, dst, kind, 0, 7<<16, strings.Repeat("p", n))
}

const answering = `
-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m
-A -t [fd00:2::1]:80 -s rr
-a -t [fd00:2::1]:80 -r [fd00:1::1]:80 -m`

func TestAnAnswerGoesAsEverythingThatIsSent(t *testing.T) {
	const router, server = "02:00:00:02:00:01", "02:00:00:01:00:01"
	for _, c := range []struct {
		name  string
		link  int
		ask   []byte
		mtu   int
		sizes []int // of the IP packets that leave
		by    int
		to    string
	}{
		{"an echo that fits", 1, echo(1, "172.16.0.9", "10.2.0.1", 1472), 1500, []int{1500}, 1, router},
		{"one byte more is answered in fragments", 1, echo(1, "172.16.0.9", "10.2.0.1", 1473), 1500, []int{1500, 21}, 1, router},
		{"a large one over IPv4", 1, echo(1, "172.16.0.9", "10.2.0.1", 3000), 1500, []int{1500, 1500, 68}, 1, router},
		{"by a way of a smaller MTU", 1, echo(1, "172.16.0.9", "10.2.0.1", 1000), 576, []int{572, 476}, 1, router},
		{"over IPv6", 1, echo(1, "fd00:c::9", "fd00:2::1", 1453), 1500, []int{1496, 61}, 1, router},
		{"from a client whose way back is by another interface", 2, echo(2, "172.16.0.9", "10.2.0.1", 56), 1500, []int{84}, 1, router},
		{"from a server", 2, echo(2, "10.1.0.1", "10.2.0.1", 56), 1500, []int{84}, 2, server},
		{"from an address of the link only", 2, echo(2, "fe80::9", "fd00:2::1", 56), 1500, []int{104}, 2, server},
		{"from an address of the link only, in fragments", 2, echo(2, "fe80::9", "fd00:2::1", 2000), 1500, []int{1496, 608}, 2, server},
		{"a reset by another interface", 2, seg(t, 2, "172.16.0.9:1000", "10.2.0.1:81", frame.FlagSYN, ""), 1500, []int{40}, 1, router},
		{"an ICMP error by another interface", 2, dgram(t, 2, "172.16.0.9:1000", "10.2.0.1:81", ""), 1500, []int{56}, 1, router},
		{"from where no route leads there is no answer", 1, echo(1, "192.0.2.9", "10.2.0.1", 56), 1500, nil, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTestbed(t, answering)
			b.net.mtu = map[string]int{"c0": c.mtu}
			out := b.send(c.link, c.ask)
			if len(out) != len(c.sizes) {
				t.Fatalf("%d frames leave, want %d", len(out), len(c.sizes))
			}
			for i, s := range out {
				to := net.HardwareAddr(s.b[:6]).String()
				if n := len(s.b) - frame.EthernetLen; n != c.sizes[i] || s.link != c.by || to != c.to {
					t.Errorf("%d: %d bytes to %s by link %d; want %d to %s by %d", i, n, to, s.link, c.sizes[i], c.to, c.by)
				}
			}
			answered, lost := uint64(min(len(c.sizes), 1)), uint64(1-min(len(c.sizes), 1))
			if b.verdict(frame.Answered) != answered || b.verdict(frame.DropNoRoute) != lost {
				t.Errorf("answered counts %d, drop-no-route %d; want %d, %d", b.verdict(frame.Answered), b.verdict(frame.DropNoRoute), answered, lost)
			}
		})
	}
}

func TestAnAnswerWaitsForItsNextHop(t *testing.T) {
	b := newTestbed(t, answering)
	n := &resolving{network: b.net, link: 1}
	b.fw.neigh = n
	if out := b.send(1, echo(1, "172.16.0.9", "10.2.0.1", 2000)); len(out) != 0 || len(n.waiting) != 2 {
		t.Errorf("%d frames leave, %d wait; want 2 to wait", len(out), len(n.waiting))
	}
	if b.verdict(frame.Answered) != 1 {
		t.Error("it does not count as answered")
	}
}

func TestAnsweringDoesNotAllocate(t *testing.T) {
	b := newTestbed(t, answering)
	asks := [][]byte{
		echo(1, "172.16.0.9", "10.2.0.1", 56),
		echo(1, "fe80::9", "fd00:2::1", 56),
	}
	w := b.workers[1]
	round := func() {
		b.mem.far[1].Inject(asks...)
		n, _ := w.port.Recv(w.in[:])
		w.batch(w.in[:n])
	}
	for range porttest.Capacity { // until the far end is full and takes no more memory
		round()
	}
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}

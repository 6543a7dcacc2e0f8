package forwarder

import (
	"testing"

	"uvs/forwarder/frame"
	"uvs/forwarder/porttest"
)

func TestAConnectionKeepsItsMethod(t *testing.T) {
	const data = frame.FlagACK | frame.FlagPSH
	const tun, dr = "server 02:00:00:01:00:01 10.1.255.254>10.1.0.1 172.16.0.9>10.2.0.1 tcp 30001>80",
		"server 02:00:00:01:00:01 172.16.0.9>10.2.0.1 tcp 30002>80"
	b := newTestbed(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -i")
	old := seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", data, "GET /")
	b.expect("a connection begins by a tunnel", 1, seg(t, 1, "172.16.0.9:30001", "10.2.0.1:80", frame.FlagSYN, ""), tun)
	b.apply("-e -t 10.2.0.1:80 -r 10.1.0.1:80")
	b.expect("the next one has the server's new method", 1, seg(t, 1, "172.16.0.9:30002", "10.2.0.1:80", frame.FlagSYN, ""), dr)
	b.expect("the first one stays in the tunnel", 1, old, tun)

	w := b.workers[1]
	round := func() {
		b.mem.far[1].Inject(old)
		n, _ := w.port.Recv(w.in[:])
		w.batch(w.in[:n])
	}
	for range porttest.Capacity { // until the far end is full and takes no more memory
		round()
	}
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations a packet of the first one", n)
	}
}

package lab_test

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"uvs/lab"
	"uvs/lab/labtest"
)

// clients has some clients connect to the virtual address again and again, until the test
// ends. A connection that fails is given up soon.
func clients(t *testing.T, l *lab.Lab) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); all.Wait() })
	one := func() {
		within, stop := context.WithTimeout(ctx, 1500*time.Millisecond)
		defer stop()
		c, err := l.Dial(within, "client", "tcp", vip(l, 80))
		if err == nil {
			c.Close()
		}
	}
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				one()
			}
		})
	}
}

// A server that resets clients is held, without a question to it, and tried again.
func TestAPassiveHold(t *testing.T) {
	t.Parallel()
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	rs1 := netip.AddrPortFrom(l.Topology.RealServers()[0].Address(), 80)
	addCheck(t, l, "--passive", "--act", "hold", "--interval", "1s", "--fall", "2", "--rise", "1")
	clients(t, l)
	dies(t, l)
	awaitState(t, l, rs1, "down", true)
	if err := l.StartServices("rs1"); err != nil {
		t.Fatal(err)
	}
	awaitState(t, l, rs1, "up", false)
}

// By direct routing only the clients that repeat their SYN show that a server is silent.
func TestASilentServerShowsByItsClients(t *testing.T) {
	t.Parallel()
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{}))
	labtest.NeedIP(t)
	rs1 := netip.AddrPortFrom(l.Topology.RealServers()[0].Address(), 80)
	addCheck(t, l, "--passive", "--interval", "1s", "--fall", "1")
	loseVIP(t, l)
	clients(t, l)
	awaitState(t, l, rs1, "down", false)
}

package conntrack

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"uvs/forwarder/frame"
	"uvs/sched"
)

func key(server string) PortKey {
	c := conn(frame.ProtoTCP, "10.0.0.9:4000", "192.0.2.1:80", server, sched.FullNAT)
	c.Local = ap("10.3.0.1:1").Addr().As16()
	return PortKeyOf(&c)
}

func newPorts(t *testing.T, low, high uint16) *Ports {
	t.Helper()
	p, err := NewPorts(newTable(t, Config{Capacity: 64}), low, high)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func counted(p *Ports) (live, over int) {
	m := map[string]uint64{}
	p.Count(m)
	return int(m["local-ports-live"]), int(m["local-ports-time-wait"])
}

// giveBack releases a port of a connection that was never in the table.
func giveBack(p *Ports, port uint16) {
	c := conn(frame.ProtoTCP, "10.0.0.9:4000", "192.0.2.1:80", "10.1.0.1:80", sched.FullNAT)
	c.Local, c.LocalPort = ap("10.3.0.1:1").Addr().As16(), port
	p.Release(&c)
}

func TestEveryPortOfTheRangeIsGivenOnceThenNone(t *testing.T) {
	for _, r := range []struct {
		name      string
		low, high uint16
	}{
		{"a range as FULLNAT uses it", 5000, 65535},
		{"all ports", 1, 65535},
		{"one port", 7, 7},
		{"the last port", 65535, 65535},
		{"a few, across words", 60, 70},
		{"one word exactly", 64, 127},
	} {
		t.Run(r.name, func(t *testing.T) {
			p := newPorts(t, r.low, r.high)
			k, seen := key("10.1.0.1:80"), map[uint16]bool{}
			for range p.Size() {
				port, _, ok := p.Allocate(k)
				if !ok || seen[port] || port < r.low || port > r.high {
					t.Fatalf("got port %d, %v after %d others", port, ok, len(seen))
				}
				seen[port] = true
			}
			if port, _, ok := p.Allocate(k); ok {
				t.Fatalf("got port %d beyond the range", port)
			}
			if _, _, ok := p.Allocate(key("10.1.0.2:80")); !ok {
				t.Error("another server's pool was exhausted with it")
			}
			giveBack(p, r.high)
			if port, _, ok := p.Allocate(k); !ok || port != r.high {
				t.Errorf("got %d, %v, want the one released", port, ok)
			}
		})
	}
}

func TestReleasedPortComesAgainAsLateAsPossible(t *testing.T) {
	p, k := newPorts(t, 1000, 1999), key("10.1.0.1:80")
	first, _, _ := p.Allocate(k)
	p.Allocate(k) // keeps the pool
	giveBack(p, first)
	for range p.Size() - 2 {
		if port, _, _ := p.Allocate(k); port == first {
			t.Fatal("came again while others were free")
		}
	}
	if port, _, ok := p.Allocate(k); !ok || port != first {
		t.Errorf("got %d, %v, want %d", port, ok, first)
	}
}

func TestPortsOfAnEmptyPoolCostNothing(t *testing.T) {
	p, k := newPorts(t, 5000, 65535), key("10.1.0.1:80")
	port, _, _ := p.Allocate(k)
	giveBack(p, port)
	giveBack(p, port)
	if len(p.pools) != 0 {
		t.Errorf("%d pools", len(p.pools))
	}
}

func TestPortsAgreeWithASet(t *testing.T) {
	table := newTable(t, Config{Capacity: 64})
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Uint16Range(1, 65535).Draw(t, "low")
		high := low + rapid.Uint16Range(0, min(200, 65535-low)).Draw(t, "more")
		p, err := NewPorts(table, low, high)
		if err != nil {
			t.Fatal(err)
		}
		k, taken := key("10.1.0.1:80"), map[uint16]bool{}
		anyPort := rapid.Uint16Range(low, high)
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				port, _, ok := p.Allocate(k)
				if ok == (len(taken) == p.Size()) || ok && (taken[port] || port < low || port > high) {
					t.Fatalf("got %d, %v with %d of %d taken", port, ok, len(taken), p.Size())
				}
				if ok {
					taken[port] = true
				}
			},
			"release": func(t *rapid.T) {
				port := anyPort.Draw(t, "port")
				giveBack(p, port)
				delete(taken, port)
			},
			"": func(t *rapid.T) {
				if live, _ := counted(p); live != len(taken) {
					t.Fatalf("%d taken, want %d", live, len(taken))
				}
			},
		})
	})
}

func TestEmptyPortRangeIsRefused(t *testing.T) {
	for _, r := range [][2]uint16{{0, 10}, {10, 9}} {
		if _, err := NewPorts(nil, r[0], r[1]); err == nil {
			t.Errorf("range %v accepted", r)
		}
	}
}

// TestPoolsOfAllPortsOfAServerAreBounded: a service on all ports by FULLNAT has a pool for each port
// of each server, and anybody can make all of them.
func TestPoolsOfAllPortsOfAServerAreBounded(t *testing.T) {
	const servers = 3 * idlePools
	table := newTable(t, Config{Capacity: servers})
	p, err := NewPorts(table, 5000, 65535)
	if err != nil {
		t.Fatal(err)
	}
	r := table.Reader()
	r.Enter()
	defer r.Exit()
	conns := make([]*Conn, servers)
	for i := range conns {
		c := conn(frame.ProtoTCP, "10.0.0.9:4000", fmt.Sprintf("192.0.2.1:%d", 1+i), fmt.Sprintf("10.1.0.1:%d", 1+i), sched.FullNAT)
		c.Local = ap("10.3.0.1:1").Addr().As16()
		c.LocalPort, _, _ = p.Allocate(PortKeyOf(&c))
		conns[i], _ = r.Insert(&c, 1)
	}
	for _, pool := range p.pools {
		if pool.many != nil {
			t.Fatal("a pool with one port takes 8 KiB")
		}
	}
	for _, c := range conns {
		p.Vacate(c)
		p.Release(c)
	}
	if len(p.pools) != idlePools || p.idle != idlePools {
		t.Errorf("%d pools are kept for notes, %d by count", len(p.pools), p.idle)
	}
	port, past, ok := p.Allocate(PortKeyOf(conns[0]))
	if c := conns[0]; !ok || p.idle != idlePools-1 {
		t.Errorf("port %d, %v; %d pools are idle", port, past, p.idle)
	} else if _, kept := p.pools[PortKeyOf(c)].timeWaits[c.LocalPort]; !kept && port != c.LocalPort {
		t.Error("the note about its port is lost")
	}
}

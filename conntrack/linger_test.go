package conntrack

import (
	"fmt"
	"net/netip"
	"testing"

	"uvs/forwarder/frame"
	"uvs/sched"
)

func TestLinger(t *testing.T) {
	table, r, rules := lingerTable(t)
	c := insertTCP(t, r, 1)
	table.Advance(c, tcpAck, Request, 1, rules)
	if !r.Linger(c, 100, Seconds(3)) || !c.Has(Closing) {
		t.Fatal("a connection does not linger")
	}
	if r.Linger(c, 110, Seconds(3)) {
		t.Error("it lingers a second time")
	}
	r.Exit()
	for _, c := range []struct {
		at   Tick
		left int
	}{{129, 1}, {130, 0}} {
		table.Sweep(c.at, 1<<20)
		if n := table.Len(); n != c.left {
			t.Errorf("at tick %d there are %d connections, want %d", c.at, n, c.left)
		}
	}
}

// TestAPacketTakesBackLinger: a connection whose server came back lives on as
// its state says, and may be closed again later.
func TestAPacketTakesBackLinger(t *testing.T) {
	table, r, rules := lingerTable(t)
	c := insertTCP(t, r, 1)
	table.Advance(c, tcpAck, Request, 1, rules)
	r.Linger(c, 100, Seconds(3))
	table.Advance(c, tcpAck, Request, 110, rules)
	if c.Has(Closing) || c.Timeout() != rules.TCP[TCPEstablished] {
		t.Errorf("after a packet it is still closing: %v, timeout %d ticks", c.Has(Closing), c.Timeout())
	}
	r.Exit()
	table.Sweep(1000, 1<<20)
	if table.Len() != 1 {
		t.Fatal("it ended")
	}
	if !r.Linger(c, 1000, Seconds(3)) {
		t.Error("it cannot be closed again")
	}
}

func TestLingerShortensOnly(t *testing.T) {
	table, r, rules := lingerTable(t)
	c := insertTCP(t, r, 1)
	table.Advance(c, tcpNone, Request, 1, rules) // to CLOSE, 10 s
	r.Linger(c, 2, Seconds(60))
	if c.Timeout() != rules.TCP[TCPClose] {
		t.Errorf("10 s became %d ticks", c.Timeout())
	}
}

// TestWalkSeesAllInPieces: however the pieces end, each connection is seen.
func TestWalkSeesAllInPieces(t *testing.T) {
	_, r, _ := lingerTable(t)
	const n = 1000
	for i := range n {
		insertTCP(t, r, uint16(i+1))
	}
	r.Exit()
	seen := map[uint16]int{}
	pieces := 0
	for next := Ref(1); next != 0; pieces++ {
		room := 100
		next = r.Walk(next, func(c *Conn) bool {
			if room == 0 {
				return false
			}
			room--
			seen[c.ClientPort]++
			return true
		})
	}
	if len(seen) != n || pieces < n/100 {
		t.Errorf("%d of %d connections were seen in %d pieces", len(seen), n, pieces)
	}
	for port, times := range seen {
		if times != 1 {
			t.Errorf("port %d was seen %d times", port, times)
		}
	}
	some := 0
	r.Range(func(*Conn) bool { some++; return some < 5 })
	if some != 5 {
		t.Errorf("a Range that was to stop after 5 saw %d", some)
	}
}

func lingerTable(t *testing.T) (*Table, *Reader, *Rules) {
	t.Helper()
	table, err := New(Config{Capacity: 4096})
	if err != nil {
		t.Fatal(err)
	}
	r := table.Reader()
	t.Cleanup(func() { r.Close(); table.Close() })
	r.Enter()
	return table, r, DefaultRules()
}

func insertTCP(t *testing.T, r *Reader, port uint16) *Conn {
	t.Helper()
	a, b := netip.MustParseAddr("172.16.0.9").As16(), netip.MustParseAddr("10.2.0.1").As16()
	f := frame.MakeFlow(frame.ProtoTCP, &a, &b, port, 80)
	c := Make(&f, sched.Route, 0)
	kept, ok := r.Insert(&c, 1)
	if !ok {
		t.Fatal(fmt.Errorf("port %d was not inserted", port))
	}
	return kept
}

package conntrack

import (
	"fmt"
	"net/netip"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"uvs/forwarder/frame"
	"uvs/sched"
)

func newTable(t testing.TB, c Config) *Table {
	t.Helper()
	table, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { table.Close() })
	return table
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// conn makes a connection of client to virtual, served by real.
func conn(proto uint8, client, virtual, real string, m sched.Method) Conn {
	f := frame.FlowOf(proto, ap(client), ap(virtual))
	c := Make(&f, m, 0)
	c.Real, c.RealPort = ap(real).Addr().As16(), ap(real).Port()
	return c
}

// nthConn makes the i-th of many NAT connections, all different.
func nthConn(i int) Conn {
	c := Conn{
		Client:      [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: byte(i >> 24), 14: byte(i >> 16), 15: byte(i >> 8)},
		Virtual:     [16]byte{10: 0xff, 11: 0xff, 12: 192, 13: 0, 14: 2, 15: 1},
		Real:        [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: 1, 14: 0, 15: byte(i % 7)},
		ClientPort:  1024 + uint16(i&0xff),
		VirtualPort: 80,
		RealPort:    8080,
		status:      frame.ProtoTCP | uint32(Inactive)<<flagShift,
	}
	return c
}

func TestConnIs112BytesAndItsHotFieldsShareACacheLine(t *testing.T) {
	var c Conn
	if n := unsafe.Sizeof(c); n != ConnSize {
		t.Errorf("a Conn is %d bytes, want 112", n)
	}
	if at := unsafe.Offsetof(c.Real); at != 64 {
		t.Errorf("Real begins at byte %d, want 64", at)
	}
	if n := unsafe.Sizeof(shard{}); n != cacheLine {
		t.Errorf("a shard is %d bytes, want %d", n, cacheLine)
	}
}

func TestLookupFindsBothDirections(t *testing.T) {
	const client, vip, rs, local = "10.0.0.9:4000", "192.0.2.1:80", "10.1.0.5:8080", "10.3.0.1:5000"
	for _, tt := range []struct {
		name     string
		method   sched.Method
		src, dst string
		found    bool
		reply    bool
	}{
		{"a NAT request", sched.Masq, client, vip, true, false},
		{"a NAT reply, addressed to the client", sched.Masq, rs, client, true, true},
		{"a request by direct routing", sched.Route, client, vip, true, false},
		{"but not a reply by direct routing, which never comes here", sched.Route, rs, client, false, false},
		{"a tunnelled request", sched.Tunnel, client, vip, true, false},
		{"a FULLNAT request", sched.FullNAT, client, vip, true, false},
		{"a FULLNAT reply, addressed to the local address", sched.FullNAT, rs, local, true, true},
		{"but no FULLNAT reply addressed to the client", sched.FullNAT, rs, client, false, false},
		{"not another client port", sched.Masq, "10.0.0.9:4001", vip, false, false},
		{"not another server port", sched.Masq, "10.1.0.5:80", client, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newTable(t, Config{Capacity: 100}).Reader()
			c := conn(frame.ProtoTCP, client, vip, rs, tt.method)
			c.Local, c.LocalPort = ap(local).Addr().As16(), ap(local).Port()
			r.Enter()
			defer r.Exit()
			kept, inserted := r.Insert(&c, 1)
			if !inserted {
				t.Fatal("not inserted")
			}
			f := frame.FlowOf(frame.ProtoTCP, ap(tt.src), ap(tt.dst))
			got, isReply := r.Lookup(&f)
			if (got != nil) != tt.found || isReply != tt.reply {
				t.Fatalf("found %v, reply %v; want %v, %v", got != nil, isReply, tt.found, tt.reply)
			}
			if got != nil && got != kept {
				t.Error("found another connection")
			}
			udp := frame.FlowOf(frame.ProtoUDP, ap(tt.src), ap(tt.dst))
			if got, _ := r.Lookup(&udp); got != nil {
				t.Error("found for another protocol")
			}
		})
	}
}

func TestInsertReturnsTheConnectionThatWasFirst(t *testing.T) {
	r := newTable(t, Config{Capacity: 100}).Reader()
	first := conn(frame.ProtoTCP, "10.0.0.9:4000", "192.0.2.1:80", "10.1.0.1:80", sched.Masq)
	second := conn(frame.ProtoTCP, "10.0.0.9:4000", "192.0.2.1:80", "10.1.0.2:80", sched.Masq)
	a, _ := r.Insert(&first, 1)
	b, inserted := r.Insert(&second, 1)
	if inserted || a != b {
		t.Fatalf("second Insert: inserted %v, same connection %v", inserted, a == b)
	}
	if f := second.ReplyFlow(); r.t.Len() != 1 {
		t.Errorf("%d connections, flow %v", r.t.Len(), f.String())
	} else if c, _ := r.Lookup(&f); c != nil {
		t.Error("the loser's reply flow was linked")
	}
}

func TestFullTableTakesNoMoreUntilOneHasGone(t *testing.T) {
	const capacity = 300
	table := newTable(t, Config{Capacity: capacity})
	r := table.Reader()
	var last *Conn
	for i := range capacity {
		c := nthConn(i)
		kept, inserted := r.Insert(&c, 1)
		if !inserted {
			t.Fatalf("connection %d of %d refused", i+1, capacity)
		}
		last = kept
	}
	more := nthConn(capacity)
	if c, inserted := r.Insert(&more, 1); c != nil || inserted {
		t.Fatal("took one more than its capacity")
	}
	again := nthConn(7)
	if c, inserted := r.Insert(&again, 1); c == nil || inserted {
		t.Fatal("a full table did not return the connection that was there")
	}
	if !r.Remove(last, 1) || r.Remove(last, 1) {
		t.Fatal("Remove: want true once, then false")
	}
	table.Sweep(1, 1000)
	table.Sweep(1, 1000)
	if _, inserted := r.Insert(&more, 1); !inserted {
		t.Fatal("no room though one has gone")
	}
}

func TestSlotIsNotReusedWhileAReaderIsInABatch(t *testing.T) {
	table := newTable(t, Config{Capacity: 1})
	a, b := table.Reader(), table.Reader()
	one, two := nthConn(1), nthConn(2)
	b.Insert(&one, 1)
	a.Enter()
	f := one.RequestFlow()
	c, _ := a.Lookup(&f)
	b.Remove(c, 1)
	for range 5 {
		table.Sweep(1, 1000)
	}
	if kept, _ := b.Insert(&two, 1); kept != nil {
		t.Fatal("the slot was given away under a Reader")
	}
	if got := c.RequestFlow(); got != f || !c.Gone() {
		t.Errorf("the held connection changed: %v, gone %v", got.String(), c.Gone())
	}
	a.Exit()
	for range 2 {
		table.Sweep(1, 1000)
	}
	if _, inserted := b.Insert(&two, 1); !inserted {
		t.Fatal("the slot was not freed after Exit")
	}
}

// TestTableAgreesWithAMap compares random operations with plain Go maps.
func TestTableAgreesWithAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gone := 0
		table, err := New(Config{Capacity: 200, Seed: rapid.Uint64Min(1).Draw(t, "seed"), Gone: func(*Conn) { gone++ }})
		if err != nil {
			t.Fatal(err)
		}
		defer table.Close()
		r := table.Reader()
		model := map[frame.Flow]Conn{}
		now, removed := Tick(1), 0
		draw := func() Conn {
			m := rapid.SampledFrom([]sched.Method{sched.Masq, sched.Route, sched.Tunnel, sched.FullNAT}).Draw(t, "method")
			n := rapid.IntRange(0, 250).Draw(t, "n")
			c := conn(frame.ProtoTCP, fmt.Sprintf("10.0.0.%d:4000", n), "192.0.2.1:80", fmt.Sprintf("10.1.0.%d:80", n%5), m)
			if n%2 == 1 {
				c = conn(frame.ProtoTCP, fmt.Sprintf("[fd00:c::%d]:4000", n), "[fd00::1]:80", fmt.Sprintf("[fd00:1::%d]:80", n%5), m)
			}
			c.Local, c.LocalPort = [16]byte{15: 1}, uint16(5000+n)
			return c
		}
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				c := draw()
				f := c.RequestFlow()
				_, there := model[f]
				kept, inserted := r.Insert(&c, now)
				switch {
				case inserted == there || kept == nil && !there && len(model) < 200-32:
					t.Fatalf("inserted %v, was there %v, %d connections", inserted, there, len(model))
				case inserted:
					model[f] = c
				}
			},
			"remove": func(t *rapid.T) {
				c := draw()
				f := c.RequestFlow()
				if got, _ := r.Lookup(&f); got != nil {
					if !r.Remove(got, now) {
						t.Fatal("not removed")
					}
					delete(model, f)
					removed++
				}
			},
			"sweep": func(t *rapid.T) { table.Sweep(now, rapid.IntRange(1, 50).Draw(t, "budget")) },
			"": func(t *rapid.T) {
				checkModel(t, r, model)
				if gone != removed {
					t.Fatalf("Gone called %d times for %d removals", gone, removed)
				}
			},
		})
	})
}

// checkModel looks every modelled connection up both ways, one by one and in a
// batch, counts them by Range, and looks for some that must not be there.
func checkModel(t *rapid.T, r *Reader, model map[frame.Flow]Conn) {
	if n := r.t.Len(); n != len(model) {
		t.Fatalf("table has %d connections, model %d", n, len(model))
	}
	var flows []*frame.Flow
	var want []Found
	r.Enter()
	defer r.Exit()
	for f, c := range model {
		got, isReply := r.Lookup(&f)
		if got == nil || isReply || got.RequestFlow() != f || got.Real != c.Real {
			t.Fatalf("%v not found as it was put", f.String())
		}
		flows, want = append(flows, &f), append(want, Found{got, false})
		if back := c.ReplyFlow(); c.Translated() {
			got, isReply := r.Lookup(&back)
			if got == nil || !isReply || got.ReplyFlow() != back {
				t.Fatalf("reply %v not found", back.String())
			}
			flows, want = append(flows, &back), append(want, Found{got, true})
		}
		missing := f.Reverse()
		flows, want = append(flows, &missing, nil), append(want, Found{}, Found{})
	}
	found := make([]Found, len(flows))
	r.LookupBatch(flows, found)
	for i := range found {
		if found[i] != want[i] {
			t.Fatalf("batch: flow %d found %v, want %v", i, found[i], want[i])
		}
	}
	seen := 0
	r.Exit()
	r.Range(func(c *Conn) bool { seen++; return true })
	r.Enter()
	if seen != len(model) {
		t.Fatalf("Range saw %d of %d", seen, len(model))
	}
}

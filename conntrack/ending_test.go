package conntrack

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// fullnatConn is a connection by FULLNAT with the next sequence numbers of its two ends.
type fullnatConn struct {
	*Conn
	client, server uint32 // the next sequence number of each
}

// portTable is a table with a few local ports for one server.
type portTable struct {
	table  *Table
	reader *Reader
	ports  *Ports
	next   int
}

func newPortTable(t testing.TB, low, high uint16) *portTable {
	o := &portTable{}
	o.table = newTable(t, Config{Capacity: 1024, Gone: func(c *Conn) { o.ports.Release(c) }})
	var err error
	if o.ports, err = NewPorts(o.table, low, high); err != nil {
		t.Fatal(err)
	}
	o.reader = o.table.Reader()
	return o
}

// open begins a connection of another client.
func (o *portTable) open(r *Reader, n int) (l *fullnatConn, past TimeWait, ok bool) {
	c := conn(frame.ProtoTCP, fmt.Sprintf("10.9.%d.%d:4000", n>>8&255, n&255), "192.0.2.1:80", "10.1.0.1:80", sched.FullNAT)
	c.Local = ap("10.3.0.1:1").Addr().As16()
	if c.LocalPort, past, ok = o.ports.Allocate(PortKeyOf(&c)); !ok {
		if c.LocalPort, past, ok = o.ports.Reuse(r, PortKeyOf(&c), 1); !ok {
			return nil, past, false
		}
	}
	kept, inserted := r.Insert(&c, 1)
	if !inserted { // no room
		o.ports.Release(&c)
		return nil, past, false
	}
	l = &fullnatConn{Conn: kept, client: 1000, server: 5000}
	o.say(l, Request, frame.FlagSYN, 0, l.client, 0)
	l.client++
	o.say(l, Reply, frame.FlagSYN|frame.FlagACK, 0, l.server, l.client)
	l.server++
	return l, past, true
}

func (o *portTable) say(l *fullnatConn, d Direction, flags uint8, n, seq, ack uint32) {
	if d == Reply && flags&(frame.FlagACK|frame.FlagRST) == frame.FlagACK {
		l.SetRcvNext(ack)
	}
	o.ports.Observe(l.Conn, &Segment{Flags: flags, Seq: seq, Ack: ack, Len: n}, d)
}

// finish closes a connection as two ends do, the client or the server first.
func (o *portTable) finish(l *fullnatConn, first Direction) {
	for _, d := range []Direction{first, Reply - first} {
		if d == Request {
			o.say(l, Request, frame.FlagFIN|frame.FlagACK, 0, l.client, l.server)
			l.client++
			o.say(l, Reply, frame.FlagACK, 0, l.server, l.client)
			continue
		}
		o.say(l, Reply, frame.FlagFIN|frame.FlagACK, 0, l.server, l.client)
		l.server++
		o.say(l, Request, frame.FlagACK, 0, l.client, l.server)
	}
}

// TestAPortIsReusedOnlyOnceItsConnectionIsOver: with one port only, the next
// client has it or not.
func TestAPortIsReusedOnlyOnceItsConnectionIsOver(t *testing.T) {
	const fin, ack, rst = frame.FlagFIN, frame.FlagACK, frame.FlagRST
	for _, s := range []struct {
		name string
		does func(o *portTable, l *fullnatConn)
		over bool
	}{
		{"a connection that is open keeps it", func(*portTable, *fullnatConn) {}, false},
		{"closed by the client first", func(o *portTable, l *fullnatConn) { o.finish(l, Request) }, true},
		{"closed by the server first", func(o *portTable, l *fullnatConn) { o.finish(l, Reply) }, true},
		{"the server may still send after the client's FIN", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, fin|ack, 0, l.client, l.server)
			o.say(l, Reply, ack, 0, l.server, l.client+1)
		}, false},
		{"the client has not heard the server's FIN", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, fin|ack, 0, l.client, l.server)
			o.say(l, Reply, fin|ack, 100, l.server, l.client+1)
			o.say(l, Request, ack, 0, l.client+1, l.server)
		}, false},
		{"the last data and both FINs are acknowledged", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, fin|ack, 50, l.client, l.server)
			o.say(l, Reply, fin|ack, 100, l.server, l.client+51)
			o.say(l, Request, ack, 0, l.client+51, l.server+101)
		}, true},
		{"forged FINs of both ends are acknowledged by none", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, fin|ack, 0, 77, 78)
			o.say(l, Reply, fin|ack, 0, 79, 80)
			o.say(l, Request, ack, 0, l.client, l.server)
			o.say(l, Reply, ack, 0, l.server, l.client)
		}, false},
		{"the client resets", func(o *portTable, l *fullnatConn) { o.say(l, Request, rst|ack, 0, l.client, l.server) }, true},
		{"a reset that the server would not take", func(o *portTable, l *fullnatConn) { o.say(l, Request, rst, 0, l.client+1, 0) }, false},
		{"the server refuses", func(o *portTable, l *fullnatConn) { o.say(l, Reply, rst|ack, 0, 0, l.client) }, true},
		{"a reset of the server that proves nothing", func(o *portTable, l *fullnatConn) { o.say(l, Reply, rst, 0, l.server, 0) }, false},
		{"a reset of the server with another number", func(o *portTable, l *fullnatConn) { o.say(l, Reply, rst|ack, 0, l.server, l.client-1) }, false},
		{"a reset whose number a forged SYN gave before", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, frame.FlagSYN, 0, 90000, 0)
			o.say(l, Request, rst, 0, 90001, 0)
		}, false},
		{"the same after a forged FIN", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, fin|ack, 0, 90000, 0)
			o.say(l, Request, frame.FlagSYN, 0, 90000, 0)
			o.say(l, Request, rst, 0, 90001, 0)
		}, false},
		{"the client resets before its last data is acknowledged", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, rst, 0, l.client+100, 0)
			o.say(l, Reply, ack, 0, l.server, l.client+100)
		}, true},
		{"a reset within the window that nothing follows", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, rst, 0, l.client+100, 0)
			o.say(l, Reply, ack, 0, l.server, l.client)
		}, false},
		{"a reset far ahead", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, rst, 0, l.client+1<<20, 0)
			o.say(l, Reply, ack, 0, l.server, l.client+1<<20)
		}, false},
		{"data after the server's end is reset", func(o *portTable, l *fullnatConn) {
			o.say(l, Reply, fin|ack, 0, l.server, l.client)
			o.say(l, Request, ack, 10, l.client, l.server+1)
			o.say(l, Reply, rst, 0, l.server+1, 0)
		}, true},
		{"the client's second end is not acknowledged", func(o *portTable, l *fullnatConn) {
			o.say(l, Request, fin|ack, 0, l.client, l.server)
			o.say(l, Reply, ack, 0, l.server, l.client+1)
			o.say(l, Request, fin|ack, 0, l.client+70, l.server)
			o.say(l, Reply, fin|ack, 0, l.server, l.client+1)
			o.say(l, Request, ack, 0, l.client+71, l.server+1)
		}, false},
		{"the client has begun anew", func(o *portTable, l *fullnatConn) {
			o.finish(l, Reply)
			o.say(l, Request, frame.FlagSYN, 0, 90000, 0)
		}, false},
		{"and is over once more", func(o *portTable, l *fullnatConn) {
			o.finish(l, Reply)
			l.client, l.server = 90001, 70001
			o.say(l, Request, frame.FlagSYN, 0, 90000, 0)
			o.finish(l, Request)
		}, true},
	} {
		t.Run(s.name, func(t *testing.T) {
			o := newPortTable(t, 7, 7)
			o.reader.Enter()
			defer o.reader.Exit()
			l, _, _ := o.open(o.reader, 1)
			s.does(o, l)
			second, past, ok := o.open(o.reader, 2)
			if ok != s.over || ok == !l.Gone() {
				t.Fatalf("the port was given: %v, want %v; its connection is gone: %v", ok, s.over, l.Gone())
			}
			if ok && (second.LocalPort != 7 || past.RcvNext == 0 || second.Has(Renumbered)) {
				t.Errorf("port %d, past %+v", second.LocalPort, past)
			}
		})
	}
}

// TestPortsOfLiveConnections: for any events in any order, no two live connections share a
// port, a free one is allocated first, and then that of the connection that has been over
// for longest.
func TestPortsOfLiveConnections(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := newPortTable(t, 60, 66)
		o.reader.Enter()
		defer o.reader.Exit()
		var live, over []*fullnatConn // over: the oldest first
		vacated := map[uint16]uint32{}
		drop := func(ls []*fullnatConn, i int) []*fullnatConn { return append(ls[:i:i], ls[i+1:]...) }
		pick := func(rt *rapid.T, ls []*fullnatConn) int {
			if len(ls) == 0 {
				rt.Skip("none")
			}
			return rapid.IntRange(0, len(ls)-1).Draw(rt, "which")
		}
		rt.Repeat(map[string]func(*rapid.T){
			"open": func(rt *rapid.T) {
				o.next++
				free, expected := o.ports.Size()-len(live)-len(over), (*fullnatConn)(nil)
				if free == 0 && len(over) > 0 {
					expected = over[0]
				}
				l, past, ok := o.open(o.reader, o.next)
				if ok != (free > 0 || expected != nil) {
					rt.Fatalf("given: %v with %d free and %d over", ok, free, len(over))
				}
				if expected != nil {
					if l.LocalPort != expected.LocalPort || past.RcvNext != expected.client || !expected.Gone() {
						rt.Fatalf("port %d after %d, want %d after %d", l.LocalPort, past.RcvNext, expected.LocalPort, expected.client)
					}
					over = over[1:]
				} else if ok {
					if past.RcvNext != vacated[l.LocalPort] {
						rt.Fatalf("port %d is free after %d, want %d", l.LocalPort, past.RcvNext, vacated[l.LocalPort])
					}
					delete(vacated, l.LocalPort)
				}
				if ok {
					live = append(live, l)
				}
			},
			"finish": func(rt *rapid.T) {
				i := pick(rt, live)
				o.finish(live[i], rapid.SampledFrom([]Direction{Request, Reply}).Draw(rt, "first"))
				over, live = append(over, live[i]), drop(live, i)
			},
			"reset": func(rt *rapid.T) {
				i, off := pick(rt, live), rapid.Uint32Range(0, 1).Draw(rt, "off")
				l := live[i]
				o.say(l, Request, frame.FlagRST, 0, l.client+off, 0)
				if off == 0 {
					over, live = append([]*fullnatConn{l}, over...), drop(live, i)
				}
			},
			"begin anew": func(rt *rapid.T) {
				i := pick(rt, over)
				l := over[i]
				l.client++
				o.say(l, Request, frame.FlagSYN, 0, l.client-1, 0)
				o.say(l, Reply, frame.FlagSYN|frame.FlagACK, 0, l.server, l.client)
				l.server++
				live, over = append(live, l), drop(over, i)
			},
			"expire": func(rt *rapid.T) {
				from := &live
				if rapid.Bool().Draw(rt, "over") {
					from = &over
				}
				i := pick(rt, *from)
				o.reader.Remove((*from)[i].Conn, 1)
				if *from = drop(*from, i); len(live)+len(over) == 0 {
					clear(vacated) // with the pool
				}
			},
			"vacate": func(rt *rapid.T) {
				i := pick(rt, over)
				o.ports.Vacate(over[i].Conn)
				o.reader.Remove(over[i].Conn, 1)
				vacated[over[i].LocalPort], over = over[i].client, drop(over, i)
			},
			"": func(rt *rapid.T) {
				ports := map[uint16]bool{}
				for _, l := range append(live, over...) {
					if ports[l.LocalPort] || l.Gone() {
						rt.Fatalf("port %d twice, or its connection is gone: %v", l.LocalPort, l.Gone())
					}
					ports[l.LocalPort] = true
				}
				if going, done := counted(o.ports); going != len(live) || done != len(over) {
					rt.Fatalf("%d live, %d over; want %d, %d", going, done, len(live), len(over))
				}
			},
		})
	})
}

// TestPortsOfManyWorkers: the same with workers that open, close and expire at
// the same time.
func TestPortsOfManyWorkers(t *testing.T) {
	const low, high = 60, 66
	o := newPortTable(t, low, high)
	var owners [high + 1]atomic.Pointer[Conn]
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := o.table.Reader()
			defer r.Close()
			for i := range 2000 {
				r.Enter()
				l, _, ok := o.open(r, w<<12|i)
				if ok {
					if old := owners[l.LocalPort].Swap(l.Conn); old != nil {
						t.Errorf("port %d is given twice", l.LocalPort)
					}
					port := l.LocalPort
					owners[port].Store(nil)
					if i%3 == 0 {
						r.Remove(l.Conn, 1)
					} else {
						o.finish(l, Direction(i&1))
					}
				}
				r.Exit()
				if w == 0 {
					o.table.Sweep(1, 1000)
				}
			}
		})
	}
	wg.Wait()
	if live, _ := counted(o.ports); live != 0 {
		t.Errorf("%d ports are taken by connections that go on", live)
	}
}

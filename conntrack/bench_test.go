package conntrack

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// sizes are how many connections the benchmarks keep: some that fit the cache,
// and a million that do not.
var sizes = []int{4096, 1 << 20}

// filled returns a table of n NAT connections and the flows of their requests
// in random order.
func filled(b testing.TB, n int) (*Reader, []frame.Flow) {
	table := newTable(b, Config{Capacity: n + n/4 + 1})
	r := table.Reader()
	flows := make([]frame.Flow, n)
	for i := range n {
		c := nthConn(i)
		if _, inserted := r.Insert(&c, 1); !inserted {
			b.Fatal("not inserted")
		}
		flows[i] = c.RequestFlow()
	}
	rand.Shuffle(n, func(i, j int) { flows[i], flows[j] = flows[j], flows[i] })
	return r, flows
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range sizes {
		r, flows := filled(b, n)
		missing := make([]frame.Flow, len(flows))
		for i := range flows {
			missing[i] = flows[i]
			missing[i].SetProto(frame.ProtoUDP)
		}
		run := func(name string, flows []frame.Flow, hit bool) {
			b.Run(fmt.Sprintf("%s/conns=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if c, _ := r.Lookup(&flows[i]); (c != nil) != hit {
						b.Fatal("wrong answer")
					}
					if i++; i == len(flows) {
						i = 0
					}
				}
			})
		}
		run("hit", flows, true)
		run("miss", missing, false)
		run("hot", flows[:256], true)
	}
}

// BenchmarkLookupBatch reports the time of one lookup, not of a batch.
func BenchmarkLookupBatch(b *testing.B) {
	for _, n := range sizes {
		r, flows := filled(b, n)
		refs := make([]*frame.Flow, len(flows))
		for i := range flows {
			refs[i] = &flows[i]
		}
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			found := make([]Found, batchMax)
			i, left := 0, 0
			for b.Loop() {
				if left--; left > 0 {
					continue
				}
				left = batchMax
				r.LookupBatch(refs[i:i+batchMax], found)
				if i += batchMax; i == len(refs) {
					i = 0
				}
			}
		})
	}
}

// BenchmarkAdvance is a packet of an established connection that changes
// nothing but the time and the count.
func BenchmarkAdvance(b *testing.B) {
	r, flows := filled(b, 4096)
	rules := DefaultRules()
	c, _ := r.Lookup(&flows[0])
	r.t.Advance(c, tcpSyn, Request, 1, rules)
	r.t.Advance(c, tcpAck, Request, 1, rules)
	b.ReportAllocs()
	for b.Loop() {
		r.t.Advance(c, tcpAck, Request, 2, rules)
	}
}

// BenchmarkInsertRemove adds a connection and takes out the oldest, n live.
func BenchmarkInsertRemove(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("conns=%d", n), func(b *testing.B) {
			r, _ := filled(b, n)
			b.ReportAllocs()
			i := n
			for b.Loop() {
				old, c := nthConn(i-n), nthConn(i)
				f := old.RequestFlow()
				if got, _ := r.Lookup(&f); !r.Remove(got, 1) {
					b.Fatal("not removed")
				}
				if _, inserted := r.Insert(&c, 1); !inserted {
					b.Fatal("not inserted")
				}
				if i++; i%256 == 0 {
					r.t.reclaim()
				}
			}
		})
	}
}

// BenchmarkInsert fills a fresh table; its time includes the kernel's for the
// pages touched first.
func BenchmarkInsert(b *testing.B) {
	b.ReportAllocs()
	var r *Reader
	i, n := 0, 1<<20
	for b.Loop() {
		if i%n == 0 {
			b.StopTimer()
			r = newTable(b, Config{Capacity: n}).Reader()
			b.StartTimer()
		}
		c := nthConn(i % n)
		r.Insert(&c, 1)
		i++
	}
}

// BenchmarkSweep reports the time for a whole table of a million: with nothing
// due, with every deadline to be put off because packets came, and expiring.
func BenchmarkSweep(b *testing.B) {
	const n = 1 << 20
	b.Run("quiet", func(b *testing.B) {
		r, _ := filled(b, n)
		for b.Loop() {
			r.t.Sweep(2, n)
		}
	})
	b.Run("putoff", func(b *testing.B) {
		r, _ := filled(b, n)
		now := Tick(1)
		for b.Loop() {
			b.StopTimer()
			now += 40
			for i := range r.t.conns {
				r.t.conns[i].seen = uint32(now)
			}
			b.StartTimer()
			for !r.t.Sweep(now, 1<<20) {
			}
		}
	})
	b.Run("expire", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			r, _ := filled(b, n)
			b.StartTimer()
			for !r.t.Sweep(100, 1<<20) {
			}
		}
	})
}

// BenchmarkAdopt adopts a million connections from memory that the process has not
// touched before, and finds one of them.
func BenchmarkAdopt(b *testing.B) {
	const n = 1 << 20
	for _, m := range []sched.Method{sched.Masq, sched.Route, sched.FullNAT} {
		b.Run(fmt.Sprintf("%s/conns=%d", m, n), func(b *testing.B) {
			f := newFile(b, n+n/4)
			r := newTable(b, Config{Capacity: n + n/4, Memory: f.mapped()}).Reader()
			for i := range n {
				c := adoptable(i, m)
				r.Insert(&c, 1)
				r.t.provide()
			}
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				mem := f.mapped()
				b.StartTimer()
				began := processorTime()
				table, err := New(Config{Capacity: n + n/4, Memory: mem})
				if err != nil {
					b.Fatal(err)
				}
				ports, _ := NewPorts(table, 5000, 65535)
				if inv, err := table.Adopt(Adoption{Now: 2, Known: everyServer, Ports: ports}); err != nil || inv.Conns != n {
					b.Fatal(inv, err)
				}
				spent += processorTime() - began
				b.StopTimer()
				table.Close()
				b.StartTimer()
			}
			b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
		})
	}
}

// adoptable is the i-th of many connections by a method.
func adoptable(i int, m sched.Method) Conn {
	c := nthConn(i)
	f := c.RequestFlow()
	n := Make(&f, m, 0)
	n.Server, n.Real, n.RealPort = sched.ID(1+i%7), c.Real, 8080
	n.Real[14] = byte(i >> 16)
	n.Local, n.LocalPort = ap("10.3.0.1:1").Addr().As16(), 5000+uint16(i/7%50_000)
	n.SetTimeout(Seconds(900))
	return n
}

// processorTime returns the processor time of the process so far.
func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package conntrack

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"uvs/forwarder/frame"
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

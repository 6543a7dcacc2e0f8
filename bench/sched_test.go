package bench_test

import (
	"fmt"
	"net/netip"
	"testing"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// sizes are the numbers of real servers the benchmarks compare. IPVS walks
// them; here a pick should cost about the same with all.
var sizes = []int{10, 100, 1000, 10000}

// BenchmarkSchedConnection measures what a connection costs a scheduler in all:
// the pick, the count when it comes and the count when it goes, in a steady
// state of as many connections as servers.
func BenchmarkSchedConnection(b *testing.B) {
	eachScheduler(b, func(b *testing.B, s sched.Scheduler, _ []*sched.RealServer, flows []frame.Flow, n int) {
		open := make([]*sched.RealServer, n)
		for i := 0; b.Loop(); i++ {
			if old := open[i%n]; old != nil {
				old.AddCounts(-1, 0, 0)
				s.Count(old)
			}
			p := s.Pick(&flows[i%len(flows)], nil)
			if open[i%n] = p; p != nil {
				p.AddCounts(1, 0, 0)
				s.Count(p)
			}
		}
	})
}

// BenchmarkSchedPick measures the pick alone, counts unchanged.
func BenchmarkSchedPick(b *testing.B) {
	eachScheduler(b, func(b *testing.B, s sched.Scheduler, _ []*sched.RealServer, flows []frame.Flow, _ int) {
		for i := 0; b.Loop(); i++ {
			s.Pick(&flows[i%len(flows)], nil)
		}
	})
}

// BenchmarkSchedReweigh measures the change of one weight, which for mh is a
// new table.
func BenchmarkSchedReweigh(b *testing.B) {
	eachScheduler(b, func(b *testing.B, s sched.Scheduler, all []*sched.RealServer, _ []frame.Flow, n int) {
		for i := 0; b.Loop(); i++ {
			all[i%n].SetWeight(int32(1 + i%7))
			s.Update(all[i%n])
		}
	})
}

// BenchmarkSchedPickWhileReweighing measures picks of mh among 10,000 servers
// while another goroutine never stops changing weights.
func BenchmarkSchedPickWhileReweighing(b *testing.B) {
	for _, name := range []string{"mh", "wlc", "wrr"} {
		b.Run(name, func(b *testing.B) {
			s, all := service(b, name, 10000)
			flows := clients(4096)
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						all[i%len(all)].SetWeight(int32(1 + i%7))
						s.Update(all[i%len(all)])
					}
				}
			}()
			for i := 0; b.Loop(); i++ {
				s.Pick(&flows[i%len(flows)], nil)
			}
			close(stop)
			<-stopped
		})
	}
}

// BenchmarkSchedLargeSet measures lblcr for one address that all servers serve.
func BenchmarkSchedLargeSet(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprint("lblcr/", n), func(b *testing.B) {
			s, _ := service(b, "lblcr", n)
			flow := clients(1)[0]
			var open []*sched.RealServer
			connect := func() {
				p := s.Pick(&flow, nil)
				p.AddCounts(1, 0, 0)
				s.Count(p)
				open = append(open, p)
			}
			for range 12 * n { // some three times the weight of all
				connect()
			}
			for i := 0; b.Loop(); i++ {
				open[i].AddCounts(-1, 0, 0)
				s.Count(open[i])
				connect()
			}
		})
	}
}

func eachScheduler(b *testing.B, run func(*testing.B, sched.Scheduler, []*sched.RealServer, []frame.Flow, int)) {
	for _, name := range sched.Names() {
		for _, n := range sizes {
			b.Run(fmt.Sprint(name, "/", n), func(b *testing.B) {
				s, all := service(b, name, n)
				flows := clients(4096)
				for i := range flows {
					s.Pick(&flows[i], nil)
				}
				b.ReportAllocs()
				run(b, s, all, flows, n)
			})
		}
	}
}

func service(b *testing.B, name string, n int) (sched.Scheduler, []*sched.RealServer) {
	s, err := sched.New(name, sched.Fallback, sched.WithSeed(1))
	if err != nil {
		b.Fatal(err)
	}
	all := make([]*sched.RealServer, n)
	for i := range all {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80)
		all[i] = sched.NewRealServer(sched.ID(i+1), addr, int32(1+i%7), 0, 0)
	}
	sched.AddAll(s, all)
	return s, all
}

// clients are flows of n clients, each to an address of its own.
func clients(n int) []frame.Flow {
	flows := make([]frame.Flow, n)
	for i := range flows {
		flows[i] = frame.FlowOf(frame.ProtoTCP,
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), uint16(1024+i)),
			netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), 80))
	}
	return flows
}

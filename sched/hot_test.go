package sched_test

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"uvs/forwarder/frame"
	"uvs/sched"
)

func TestNoAllocs(t *testing.T) {
	for _, name := range sched.Names() {
		weights := slices.Repeat([]int32{3, 1, 2, 4}, 50)
		s := scheduler(t, name, sched.Fallback, servers(weights...))
		var flows []*frame.Flow
		for n := range 100 {
			flows = append(flows, client(n))
		}
		n := 0
		connect := func() {
			n++
			if p := s.Pick(flows[n%100], nil); p != nil {
				p.AddCounts(1, 0, 0)
				s.Count(p)
			}
		}
		for range 2000 {
			connect() // lblc and lblcr know the addresses, and their sets have grown
		}
		allocs := testing.AllocsPerRun(2000, connect)
		if allocs != 0 {
			t.Errorf("%s: %v allocations per connection", name, allocs)
		}
	}
}

// Run with -race. The picks have to be of servers that exist; what else holds
// under concurrency is each connection's count.
func TestPicksAndChangesAtTheSameTime(t *testing.T) {
	for _, name := range sched.Names() {
		t.Run(name, func(t *testing.T) {
			all := servers(slices.Repeat([]int32{1, 2, 3}, 7)...)
			s := scheduler(t, name, sched.Fallback, all)
			var wg sync.WaitGroup
			for worker := range 3 {
				wg.Go(func() { pickAndClose(s, worker) })
			}
			wg.Go(func() { reconfigure(s, all) })
			wg.Wait()
			for _, server := range all {
				if server.Active() != 0 {
					t.Errorf("%s: %d active connections left", server.Addr, server.Active())
				}
			}
		})
	}
}

func pickAndClose(s sched.Scheduler, worker int) {
	var open []*sched.RealServer
	for n := range 1000 {
		if p := s.Pick(client(n*3+worker), nil); p != nil {
			p.AddCounts(1, 0, 0)
			s.Count(p)
			open = append(open, p)
		}
	}
	for _, p := range open {
		if p.AddCounts(-1, 0, 0) {
			s.Update(p)
		}
		s.Count(p)
	}
}

func reconfigure(s sched.Scheduler, all []*sched.RealServer) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		server := all[r.IntN(len(all))]
		switch r.IntN(3) {
		case 0:
			server.SetWeight(int32(r.IntN(5)))
			s.Update(server)
		case 1:
			server.SetThresholds(uint32(r.IntN(50)), 0)
			s.Update(server)
		default:
			s.Remove(server)
			s.Add(server)
		}
	}
}

package sched_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// asks is a client's connection to the nth of many addresses behind a mark.
func asks(n int) *frame.Flow {
	f := frame.FlowOf(frame.ProtoTCP,
		netip.MustParseAddrPort("172.16.0.1:1024"),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{20, byte(n >> 16), byte(n >> 8), byte(n)}), 80))
	return &f
}

// farm is two caches of which the second is so loaded that wlc gives new
// addresses to the first.
func farm(t *testing.T, name string) (s sched.Scheduler, a, b *sched.RealServer) {
	all := servers(100, 100)
	a, b = all[0], all[1]
	s = scheduler(t, name, 0, all)
	connect(s, b, 10)
	return s, a, b
}

func connect(s sched.Scheduler, to *sched.RealServer, inactive int32) {
	to.AddCounts(0, inactive, 0)
	s.Count(to)
}

func TestAnAddressKeepsItsServerUntilTheSweepAfterADayWithoutUse(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		synctest.Test(t, func(t *testing.T) {
			s, a, b := farm(t, name)
			time.Sleep(5 * time.Minute)
			for n := range 3 {
				if s.Pick(asks(n), nil) != a {
					t.Fatalf("%s: the less loaded cache is not chosen", name)
				}
			}
			connect(s, a, 20) // from now on new addresses go to b
			time.Sleep(24*time.Hour + 25*time.Minute - time.Nanosecond)
			if s.Pick(asks(0), nil) != a {
				t.Errorf("%s: gone before the sweep of 24:30", name)
			}
			time.Sleep(time.Nanosecond)
			if s.Pick(asks(1), nil) != b {
				t.Errorf("%s: not gone after 24:25 without use and the sweep of 24:30", name)
			}
			if s.Pick(asks(0), nil) != a {
				t.Errorf("%s: gone though used a moment ago", name)
			}
		})
	}
}

func TestAnAddressInUseKeepsItsServerForEver(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		synctest.Test(t, func(t *testing.T) {
			s, a, _ := farm(t, name)
			s.Pick(asks(1), nil)
			connect(s, a, 20)
			for range 10 {
				time.Sleep(23 * time.Hour)
				if s.Pick(asks(1), nil) != a {
					t.Fatalf("%s: moved", name)
				}
			}
		})
	}
}

func TestATableAboveItsBoundMakesRoomBySixMinutesWithoutUse(t *testing.T) {
	const bound = 16 << 10
	for _, name := range []string{"lblc", "lblcr"} {
		synctest.Test(t, func(t *testing.T) {
			s, a, b := farm(t, name)
			for n := range bound + 300 {
				s.Pick(asks(n), nil)
			}
			connect(s, a, 20)
			time.Sleep(6*time.Minute - time.Nanosecond)
			for n := 0; n < bound+300; n += 100 {
				if s.Pick(asks(n), nil) != a {
					t.Fatalf("%s: address %d gone within six minutes", name, n)
				}
			}
			time.Sleep(time.Nanosecond)
			gone := 0
			for n := 1; n < bound+300; n += 2 {
				if s.Pick(asks(n), nil) == b {
					gone++
				}
			}
			// 300 too many: 400 go, and the rest of the last bucket; half are asked.
			if gone < 150 || gone > 250 {
				t.Errorf("%s: of half the addresses %d went, want some 200", name, gone)
			}
		})
	}
}

func TestASetThatDoesNotChangeForADayLosesItsMostLoadedServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := servers(1, 1)
		s := scheduler(t, "lblcr", 0, all)
		one := s.Pick(asks(1), nil) // server 2, the first in the list
		one.AddCounts(2, 0, 0)
		s.Count(one)
		two := s.Pick(asks(1), nil) // 1 joins: 2 has more than its weight, 1 nothing
		if one != all[1] || two != all[0] {
			t.Fatalf("picks %s and %s", one.Addr, two.Addr)
		}
		two.AddCounts(3, 0, 0)
		s.Count(two)
		time.Sleep(24 * time.Hour)
		if got := s.Pick(asks(1), nil); got != one {
			t.Errorf("after a day exactly: %s", got.Addr)
		}
		time.Sleep(time.Nanosecond)
		s.Pick(asks(1), nil) // takes server 1 out
		two.AddCounts(-3, 0, 0)
		one.AddCounts(-1, 0, 0)
		s.Count(one)
		s.Count(two)
		if got := s.Pick(asks(1), nil); got != one {
			t.Errorf("%s is still in the set", got.Addr)
		}
	})
}

// A farm of four caches behind a mark serves 200 sites, one of them every
// second request. lblc hands the popular one from cache to cache, and the sites
// that live with it have to move too; lblcr spreads it over two and leaves the
// others where they are.
func TestACacheFarmKeepsSitesTogether(t *testing.T) {
	for name, mayMove := range map[string]int{"lblc": 80, "lblcr": 5} {
		synctest.Test(t, func(t *testing.T) {
			s := scheduler(t, name, 0, servers(20, 20, 20, 20))
			caches := map[int]map[*sched.RealServer]bool{}
			var open []*sched.RealServer
			for n := range 20000 {
				site := n * 7919 % 200
				if n%2 == 0 {
					site = 1000
				}
				c := s.Pick(asks(site), nil)
				c.AddCounts(1, 0, 0)
				s.Count(c)
				if open = append(open, c); len(open) > 60 {
					open[0].AddCounts(-1, 0, 0)
					s.Count(open[0])
					open = open[1:]
				}
				if caches[site] == nil {
					caches[site] = map[*sched.RealServer]bool{}
				}
				caches[site][c] = true
				time.Sleep(10 * time.Millisecond)
			}
			moved := 0
			for site, on := range caches {
				if site != 1000 && len(on) > 1 {
					moved++
				}
			}
			if moved > mayMove || len(caches[1000]) < 2 {
				t.Errorf("%s: %d of 200 sites moved, the popular one is on %d caches", name, moved, len(caches[1000]))
			}
		})
	}
}

func TestARemovedCacheGetsItsAddressesBackWhenItReturns(t *testing.T) {
	for _, name := range []string{"lblc", "lblcr"} {
		s, a, b := farm(t, name)
		s.Pick(asks(1), nil)
		s.Pick(asks(2), nil)
		s.Remove(a)
		if s.Pick(asks(1), nil) != b {
			t.Errorf("%s: a removed cache is picked", name)
		}
		connect(s, b, 100)
		a.Revive(100, 0, 0)
		s.Add(a)
		connect(s, a, 1000) // wlc would choose b
		if s.Pick(asks(2), nil) != a {
			t.Errorf("%s: an address not asked for meanwhile has left its cache", name)
		}
	}
}

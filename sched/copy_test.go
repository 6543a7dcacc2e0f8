package sched_test

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// TestACopyPicksWhatTheSchedulerPicks compares each pick with that of a copy made just
// before, which is thrown away: had it changed the scheduler, later picks would differ too.
func TestACopyPicksWhatTheSchedulerPicks(t *testing.T) {
	for _, name := range sched.Names() {
		for _, flags := range []sched.Flags{0, sched.Fallback | sched.Port} {
			t.Run(name, func(t *testing.T) {
				b := newBench(t, name, flags)
				for range 250 {
					b.step()
				}
			})
		}
	}
}

// bench is a scheduler and another one under the same events, of which no copy is made.
type bench struct {
	*rand.Rand
	t                *testing.T
	clock            time.Duration
	scheduler, apart sched.Scheduler
	servers, shadows []*sched.RealServer
	there            []bool
	copied           map[*sched.RealServer]*sched.RealServer
}

func newBench(t *testing.T, name string, flags sched.Flags) *bench {
	t.Helper()
	b := &bench{Rand: rand.New(rand.NewPCG(9, uint64(flags))), t: t}
	options := []sched.Option{sched.WithSeed(7), sched.WithClock(func() time.Duration { return b.clock }),
		sched.WithExpiration(func() time.Duration { return time.Hour })}
	var err error
	if b.scheduler, err = sched.New(name, flags, options...); err != nil {
		t.Fatal(err)
	}
	if b.apart, err = sched.New(name, flags, options...); err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 80)
		b.servers = append(b.servers, sched.NewRealServer(sched.ID(i+1), addr, int32(1+i%4), uint32(i%3)*8, 0))
		b.shadows = append(b.shadows, sched.NewRealServer(sched.ID(i+1), addr, int32(1+i%4), uint32(i%3)*8, 0))
		b.there = append(b.there, false)
	}
	return b
}

func (b *bench) step() {
	i := b.IntN(len(b.servers))
	s, shadow := b.servers[i], b.shadows[i]
	switch n := b.IntN(12); {
	case n == 0 && !b.there[i]:
		b.there[i] = true
		b.scheduler.Add(s)
		b.apart.Add(shadow)
	case n == 1 && b.there[i] && b.IntN(3) == 0:
		b.there[i] = false
		b.scheduler.Remove(s)
		b.apart.Remove(shadow)
	case n == 2 && b.there[i]:
		w := int32(b.IntN(4))
		s.SetWeight(w)
		shadow.SetWeight(w)
		b.scheduler.Update(s)
		b.apart.Update(shadow)
	case n == 3:
		b.clock += time.Duration(b.IntN(600)) * time.Second
	case n == 4:
		active := int32(b.IntN(3)) - min(1, s.Active())
		s.AddCounts(active, 0, 0)
		shadow.AddCounts(active, 0, 0)
		b.scheduler.Count(s)
		b.apart.Count(shadow)
	default:
		b.pick()
	}
}

func (b *bench) pick() {
	flow := flowOf(b.IntN(200), b.IntN(50))
	b.copied = map[*sched.RealServer]*sched.RealServer{}
	twin := b.scheduler.(sched.Copier).Copy(sched.Copying{Server: b.copyOf, Flow: &flow, Clock: func() time.Duration { return b.clock }})
	var foretold, told sched.Record
	want, got, apart := twin.Pick(&flow, &foretold), b.scheduler.Pick(&flow, &told), b.apart.Pick(&flow, nil)
	if diff := cmp.Diff(foretold, told); diff != "" {
		b.t.Fatalf("(-foretold +told):\n%s", diff)
	}
	if id(want) != id(got) || id(apart) != id(got) {
		b.t.Fatalf("foretold %d, picked %d, without copies %d", id(want), id(got), id(apart))
	}
	if want != nil && want == got {
		b.t.Fatal("the copy has the scheduler's own server")
	}
}

func (b *bench) copyOf(s *sched.RealServer) *sched.RealServer {
	if b.copied[s] == nil {
		b.copied[s] = s.Copy()
	}
	return b.copied[s]
}

func id(s *sched.RealServer) sched.ID {
	if s == nil {
		return 0
	}
	return s.ID
}

func flowOf(client, destination int) frame.Flow {
	src, dst := [16]byte{10: 0xff, 11: 0xff, 12: 172, 13: 16, 15: byte(client)}, [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: 2, 15: byte(destination)}
	return frame.MakeFlow(frame.ProtoTCP, &src, &dst, uint16(1000+client), 80)
}

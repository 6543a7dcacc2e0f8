package sched_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"uvs/forwarder/frame"
	"uvs/sched"
)

const testSeed = 7

// walks has the reference of each scheduler but mh, whose table is already the
// kernel's and whose laws are tested on their own.
var walks = map[string]func() walk{
	"rr":    func() walk { return &rrWalk{} },
	"wrr":   func() walk { return &wrrWalk{} },
	"lc":    func() walk { return first(lcWalk) },
	"wlc":   func() walk { return first(wlcWalk) },
	"sed":   func() walk { return first(sedWalk) },
	"nq":    func() walk { return first(nqWalk) },
	"fo":    func() walk { return first(foWalk) },
	"ovf":   func() walk { return first(ovfWalk) },
	"twos":  func() walk { return &twosWalk{rand.New(rand.NewPCG(testSeed, 0))} },
	"sh":    func() walk { return shWalk{} },
	"dh":    func() walk { return shWalk{destination: true} },
	"lblc":  func() walk { return newLocalWalk(false) },
	"lblcr": func() walk { return newLocalWalk(true) },
}

const testExpiration = 40 * time.Minute

func newLocalWalk(replicate bool) *localWalk {
	return &localWalk{replicate: replicate, expiration: testExpiration, entries: map[netip.Addr]*localEntry{}}
}

func TestPicksEqualTheWalkOverTheListForAnyEvents(t *testing.T) {
	for name := range walks {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) { newPair(t, name, 0).run(12) }))
	}
	t.Run("sh-fallback", rapid.MakeCheck(func(t *rapid.T) {
		p := newPair(t, "sh", sched.Fallback)
		p.walk = shWalk{fallback: true}
		p.run(12)
	}))
}

func TestPicksEqualTheWalkForManyServersSoThatListsRepackAndSetsAreIndexed(t *testing.T) {
	for name := range walks {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3) {
				p := newPair(nil, name, 0)
				p.draw = rand.New(rand.NewPCG(seed, 1)).IntN
				p.fatalf = t.Fatalf
				for range 90 {
					p.add()
				}
				for range 3000 {
					p.step(150)
				}
			}
		})
	}
}

// still is a walk that is not asked.
type still struct{ walk }

func (still) changed([]*sched.RealServer, *sched.RealServer, *sched.RealServer) {}

// pair is a scheduler and its reference, under the same events.
type pair struct {
	draw      func(n int) int // from 0 to n-1
	fatalf    func(string, ...any)
	scheduler sched.Scheduler
	walk      walk
	now       time.Duration
	list      []*sched.RealServer // as IPVS has it: the newest first
	trash     []*sched.RealServer
	conns     []*sched.RealServer // of active connections
	idle      []*sched.RealServer // of inactive ones
	flows     uint32
	check     func(*frame.Flow, *sched.RealServer)
	heavy     int32 // some weights are this many times as large
}

func newPair(t *rapid.T, name string, flags sched.Flags) *pair {
	p := &pair{walk: still{}, heavy: 2147483647 / 6}
	p.check = p.agree
	if w := walks[name]; w != nil {
		p.walk = w()
	}
	if name == "wrr" {
		p.heavy = 50 // its walk takes a round for every unit
	}
	if t != nil {
		p.fatalf = t.Fatalf
		p.draw = func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "n") }
	}
	s, err := sched.New(name, flags, sched.WithSeed(testSeed), sched.WithExpiration(func() time.Duration { return testExpiration }),
		sched.WithClock(func() time.Duration { return p.now }))
	if err != nil {
		panic(err)
	}
	p.scheduler = s
	return p
}

func (p *pair) run(servers int) {
	for range p.draw(150) {
		p.step(servers)
	}
}

func (p *pair) step(servers int) {
	switch n := p.draw(20); {
	case n < 10:
		p.connect()
	case n < 12:
		p.end(&p.conns, -1, 0)
	case n < 13:
		p.end(&p.idle, 0, -1)
	case n < 14:
		p.end(&p.conns, -1, +1)
	case n < 16 && len(p.list) < servers:
		p.add()
	case n < 17 && len(p.trash) > 0:
		p.revive()
	case n < 18 && len(p.list) > 0:
		p.remove()
	case n < 19 && len(p.list) > 0:
		p.edit()
	default:
		p.pass(time.Duration(p.draw(15)) * time.Minute)
	}
}

func (p *pair) pass(d time.Duration) {
	p.now += d
	if w, ok := p.walk.(*localWalk); ok {
		w.now = p.now
	}
}

func (p *pair) connect() {
	p.flows++
	f := frame.FlowOf(frame.ProtoTCP,
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{172, 16, 0, byte(p.draw(40))}), uint16(p.flows)),
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 2, 0, byte(p.draw(3))}), 80))
	got := p.scheduler.Pick(&f, nil)
	p.check(&f, got)
	if got == nil {
		return
	}
	if p.draw(3) > 0 {
		p.conns = append(p.conns, got)
		p.count(got, 1, 0)
	} else {
		p.idle = append(p.idle, got)
		p.count(got, 0, 1)
	}
}

// agree checks that the pick is the walk's.
func (p *pair) agree(f *frame.Flow, got *sched.RealServer) {
	if want := p.walk.pick(f, p.list); got != want {
		p.fatalf("%s: picks %v, the walk %v", f, describe(got), describe(want))
	}
}

func describe(s *sched.RealServer) any {
	if s == nil {
		return "none"
	}
	return s.Addr
}

// count counts as the director does, which tells of an overload twice.
func (p *pair) count(s *sched.RealServer, active, inactive int32) {
	changed := s.AddCounts(active, inactive, 0)
	if !slices.Contains(p.list, s) {
		return
	}
	if changed {
		p.scheduler.Update(s)
	}
	p.scheduler.Count(s)
}

func (p *pair) end(conns *[]*sched.RealServer, active, inactive int32) {
	if len(*conns) == 0 {
		return
	}
	i := p.draw(len(*conns))
	s := (*conns)[i]
	*conns = slices.Delete(*conns, i, i+1)
	if active+inactive == 0 {
		p.idle = append(p.idle, s)
	}
	p.count(s, active, inactive)
}

func (p *pair) settings() (weight int32, upper, lower uint32) {
	weight = int32(p.draw(7))
	if p.draw(8) == 0 {
		weight *= p.heavy
	}
	if p.draw(3) == 0 {
		upper = uint32(p.draw(6))
		lower = uint32(p.draw(int(upper) + 1))
	}
	return weight, upper, lower
}

func (p *pair) add() {
	id := len(p.list) + len(p.trash) + 1
	w, upper, lower := p.settings()
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(id >> 8), byte(id)}), 80)
	p.join(sched.NewRealServer(sched.ID(id), addr, w, upper, lower))
}

func (p *pair) revive() {
	i := p.draw(len(p.trash))
	s := p.trash[i]
	p.trash = slices.Delete(p.trash, i, i+1)
	s.Revive(p.settings())
	p.join(s)
}

func (p *pair) join(s *sched.RealServer) {
	p.list = slices.Insert(p.list, 0, s)
	p.scheduler.Add(s)
	p.walk.changed(p.list, nil, nil)
}

func (p *pair) remove() {
	i := p.draw(len(p.list))
	s := p.list[i]
	var before *sched.RealServer
	if i > 0 {
		before = p.list[i-1]
	}
	p.list = slices.Delete(p.list, i, i+1)
	p.trash = append(p.trash, s)
	p.scheduler.Remove(s)
	p.walk.changed(p.list, s, before)
}

func (p *pair) edit() {
	s := p.list[p.draw(len(p.list))]
	w, upper, lower := p.settings()
	s.SetWeight(w)
	s.SetThresholds(upper, lower)
	p.scheduler.Update(s)
	p.walk.changed(p.list, nil, nil)
}

func TestALargeSetOfLBLCRPicksAsTheWalkDoes(t *testing.T) {
	for seed := range uint64(4) {
		p := newPair(nil, "lblcr", 0)
		p.draw, p.fatalf, p.heavy = rand.New(rand.NewPCG(seed, 1)).IntN, t.Fatalf, 1
		for range 150 {
			p.add()
		}
		for range 5000 {
			for range p.draw(4) {
				p.connect()
			}
			p.step(150)
		}
	}
}

func TestAChangedSchedulerBeginsAsTheWalkDoes(t *testing.T) {
	p := newPair(nil, "wrr", 0)
	p.draw, p.fatalf = rand.New(rand.NewPCG(1, 1)).IntN, t.Fatalf
	for range 5 {
		p.add()
	}
	oldest := slices.Clone(p.list)
	slices.Reverse(oldest)
	p.scheduler, _ = sched.New("wrr", 0)
	sched.AddAll(p.scheduler, oldest)
	w := &wrrWalk{}
	w.restart(p.list)
	p.walk = w
	for range 200 {
		p.connect()
	}
}

package conntrack

import (
	"testing"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// clock drives a table second by second, or tick by tick.
type clock struct {
	*Reader
	now Tick
}

func (c *clock) sleep(d Tick) {
	for range d {
		c.now++
		for !c.t.Sweep(c.now, 3) {
		}
	}
}

func newClock(t *testing.T, c Config) *clock { return &clock{newTable(t, c).Reader(), 1} }

func (c *clock) put(t *testing.T, n Conn) *Conn {
	t.Helper()
	kept, inserted := c.Insert(&n, c.now)
	if !inserted {
		t.Fatal("not inserted")
	}
	return kept
}

func natConn() Conn {
	return conn(frame.ProtoTCP, "10.0.0.9:4000", "192.0.2.1:80", "10.1.0.5:80", sched.Masq)
}

// lives returns after how many ticks from now the only connection is gone.
func (c *clock) lives(limit Tick) Tick {
	for n := Tick(1); n <= limit; n++ {
		if c.sleep(1); c.t.Len() == 0 {
			return n
		}
	}
	return 0
}

func TestTimeoutsEndWithTheirLastTick(t *testing.T) {
	rules := DefaultRules()
	rules.UDP = Seconds(2)
	for _, tt := range []struct {
		name   string
		proto  uint8
		events []Event
		want   Tick
	}{
		{"an entry that saw no packet lives 3 s", frame.ProtoTCP, nil, Seconds(3)},
		{"SYN_RECV lives 60 s", frame.ProtoTCP, []Event{tcpSyn}, Seconds(60)},
		{"ESTABLISHED lives 900 s", frame.ProtoTCP, []Event{tcpSyn, tcpAck}, Seconds(900)},
		{"CLOSE lives 10 s, though it was established before", frame.ProtoTCP, []Event{tcpSyn, tcpAck, tcpRst}, Seconds(10)},
		{"UDP lives as long as was set", frame.ProtoUDP, []Event{Packet}, Seconds(2)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := newClock(t, Config{Capacity: 10})
			c := clock.put(t, conn(tt.proto, "10.0.0.9:4000", "192.0.2.1:80", "10.1.0.5:80", sched.Masq))
			for _, ev := range tt.events {
				clock.sleep(7)
				clock.t.Advance(c, ev, Request, clock.now, rules)
			}
			if got := clock.lives(tt.want + 5); got != tt.want {
				t.Errorf("gone after %d ticks, want %d", got, tt.want)
			}
		})
	}
}

func TestEveryPacketRenewsTheTimeout(t *testing.T) {
	clock, rules := newClock(t, Config{Capacity: 10}), DefaultRules()
	c := clock.put(t, natConn())
	clock.t.Advance(c, tcpSyn, Request, clock.now, rules)
	clock.t.Advance(c, tcpRst, Reply, clock.now, rules)
	for range 20 {
		clock.sleep(Seconds(10) - 1)
		clock.t.Advance(c, tcpAck, Request, clock.now, rules)
	}
	if got := clock.lives(Seconds(20)); got != Seconds(10) {
		t.Errorf("gone %d ticks after the last packet, want %d", got, Seconds(10))
	}
}

func TestOneThatControlsOthersIsKeptAMinuteAtATime(t *testing.T) {
	gone := 0
	clock := newClock(t, Config{Capacity: 10, Gone: func(*Conn) { gone++ }})
	rules := DefaultRules()
	rules.UDP = Seconds(70)
	f := frame.FlowOf(frame.ProtoUDP, ap("10.0.0.9:4000"), ap("192.0.2.1:53"))
	tf := TemplateFlow(&f, maskOf(&f, 32), 53)
	tmpl := Make(&tf, sched.Masq, Template)
	tmpl.SetTimeout(Seconds(2))
	ct := clock.put(t, tmpl)
	n := Make(&f, sched.Masq, 0)
	n.Control = clock.t.Ref(ct)
	c := clock.put(t, n)
	clock.t.Advance(c, Packet, Request, clock.now, rules)
	if ct.Controls() != 1 || ct.StateName() != "NONE" {
		t.Fatalf("template controls %d, state %s", ct.Controls(), ct.StateName())
	}
	clock.sleep(Seconds(2) + 1)
	if left := ct.Expires(clock.now).Seconds(); left < 59 || left > 60 {
		t.Errorf("template was given %.1f s, want 60", left)
	}
	if clock.Remove(ct, clock.now) {
		t.Error("a template in use was removed")
	}
	clock.t.Advance(c, Packet, Reply, clock.now, rules)
	if ct.StateName() != "ASSURED" {
		t.Errorf("after the server's answer the template is %s", ct.StateName())
	}
	clock.sleep(Seconds(71))
	if gone != 1 || ct.Controls() != 0 {
		t.Fatalf("%d gone, template controls %d", gone, ct.Controls())
	}
	clock.sleep(Seconds(60))
	if gone != 2 || clock.t.Len() != 0 {
		t.Errorf("%d gone, %d left", gone, clock.t.Len())
	}
}

func TestGoneSeesTheFinalCounts(t *testing.T) {
	var last Flags
	clock := newClock(t, Config{Capacity: 10, Gone: func(c *Conn) { last = c.Flags() }})
	rules := DefaultRules()
	c := clock.put(t, natConn())
	clock.t.Advance(c, tcpSyn, Request, clock.now, rules)
	clock.Remove(c, clock.now)
	if last&Inactive != 0 {
		t.Error("a connection in SYN_RECV left as inactive")
	}
	if ch := clock.t.Advance(c, tcpRst, Reply, clock.now, rules); ch != Unchanged {
		t.Errorf("a packet after the end changed the counts: %v", ch)
	}
}

func TestSweepNeedsNoLookAtAQuietTable(t *testing.T) {
	clock := newClock(t, Config{Capacity: 10000})
	for i := range 10000 {
		clock.put(t, nthConn(i))
	}
	if !clock.t.Sweep(2, 1+10000/blockEntries) {
		t.Error("a quiet table took more than one unit of the budget a block")
	}
	if clock.t.Sweep(100, 1000) {
		t.Error("10000 expired within a budget of 1000")
	}
	if n := clock.t.Len(); n > 9000 || n < 9000-2*blockEntries {
		t.Errorf("%d left after a budget of 1000", n)
	}
}

func TestDropEntryTakesHalfOpenOnesAndSparesTheRest(t *testing.T) {
	clock, rules := newClock(t, Config{Capacity: 4000}), DefaultRules()
	var d Dropper
	for i := range 4000 {
		c := clock.put(t, nthConn(i))
		clock.t.Advance(c, tcpSyn, Request, clock.now, rules)
		if i%2 == 0 {
			clock.t.Advance(c, tcpAck, Request, clock.now, rules)
		}
	}
	for range 1000 {
		d.Drop(clock.Reader, clock.now)
		clock.t.reclaim()
	}
	if n := clock.t.Len(); n != 2000 {
		t.Fatalf("%d left, want the 2000 that are established", n)
	}
	dropped := 0
	for range 10 {
		dropped += d.Drop(clock.Reader, clock.now+Seconds(61))
	}
	if dropped < 200 || dropped > 420 {
		t.Errorf("after a quiet minute %d of some 600 looked at were dropped, want half: they had 2 packets", dropped)
	}
}

func TestDropEntryMakesRoomInATableFullOfDatagrams(t *testing.T) {
	const capacity = 4000
	clock, rules := newClock(t, Config{Capacity: capacity}), DefaultRules()
	var d Dropper
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			c := nthConn(i)
			c.status = frame.ProtoUDP | uint32(Inactive)<<flagShift
			clock.t.Advance(clock.put(t, c), Packet, Request, clock.now, rules)
		}
	}
	fill(0, capacity/2)
	if n := d.Drop(clock.Reader, clock.now+Seconds(24)); n != 0 {
		t.Errorf("with room in the table %d were dropped within a minute", n)
	}
	fill(capacity/2, capacity)
	if n := d.Drop(clock.Reader, clock.now); n != 0 {
		t.Errorf("%d were dropped at once", n)
	}
	if n := d.Drop(clock.Reader, clock.now+Seconds(2)); n < capacity/64 || n > capacity/32 {
		t.Errorf("%d of a full table were dropped after two seconds, want one in 32 or somewhat less", n)
	}
}

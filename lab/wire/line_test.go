package wire

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"uvs/forwarder/frame"
	"uvs/forwarder/frame/frametest"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// begin is a time to count from.
var begin = time.Unix(1_000_000, 0)

// newLine returns a line with an impairment in words.
func newLine(t testing.TB, words string, seed uint64) *line {
	t.Helper()
	i, err := Parse(words)
	if err != nil {
		t.Fatal(err)
	}
	return &line{Impairment: i, dice: newDice(seed, "rs1 out")}
}

// built are the packets that numbered has made.
var built = map[int][]byte{}

// numbered returns a UDP packet that carries a number.
func numbered(t testing.TB, n int) []byte {
	t.Helper()
	if built[n] == nil {
		built[n] = build(t, []byte(fmt.Sprintf("%08d", n)))
	}
	return built[n]
}

func build(t testing.TB, b []byte) []byte {
	t.Helper()
	return frametest.Build(t,
		&layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 1, 0}, DstMAC: []byte{2, 0, 0, 0, 2, 0}, EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP,
			SrcIP: netip.MustParseAddr("10.0.0.1").AsSlice(), DstIP: netip.MustParseAddr("10.0.0.2").AsSlice()},
		&layers.UDP{SrcPort: 1, DstPort: 2}, gopacket.Payload(b))
}

// arrival is a frame that left a line.
type arrival struct {
	number int
	after  time.Duration // since begin
	frame  string
}

// broken reports whether a checksum is wrong.
func (a arrival) broken() bool {
	return frametest.Check([]byte(a.frame), layers.LayerTypeEthernet) != nil
}

// run puts n numbered frames into a line, one each gap, and returns what arrives until an hour
// later.
func run(t testing.TB, l *line, n int, gap time.Duration) (all []arrival) {
	now := begin
	take := func(until time.Time) {
		for {
			due, any := l.next()
			if !any || due.After(until) {
				return
			}
			p := l.pop(due)
			a := arrival{after: due.Sub(begin), frame: string(p.frame())}
			a.number, _ = strconv.Atoi(a.frame[frame.EthernetLen+28:][:8])
			all = append(all, a)
			l.done(p, true)
		}
	}
	for i := range n {
		take(now)
		l.put(now, &frame.Offload{}, numbered(t, i))
		now = now.Add(gap)
	}
	take(now.Add(time.Hour))
	return all
}

func numbers(all []arrival) (ns []int) {
	for _, a := range all {
		ns = append(ns, a.number)
	}
	return ns
}

// TestSharesAreWhatTheySay allows three standard deviations of a binomial distribution.
func TestSharesAreWhatTheySay(t *testing.T) {
	const n = 20000
	for _, c := range []struct {
		words string
		count func(Counters) uint64
		p     float64
	}{
		{"loss=1%", func(c Counters) uint64 { return c.Lost }, 0.01},
		{"loss=30%", func(c Counters) uint64 { return c.Lost }, 0.3},
		{"loss=100%", func(c Counters) uint64 { return c.Lost }, 1},
		{"duplicate=5%", func(c Counters) uint64 { return c.Duplicated }, 0.05},
		{"corrupt=0.1%", func(c Counters) uint64 { return c.Corrupted }, 0.001},
		{"reorder=2%", func(c Counters) uint64 { return c.Reordered }, 0.02},
		{"delay=5ms jitter=2ms loss=10% reorder=2% duplicate=1%", func(c Counters) uint64 { return c.Lost }, 0.1},
	} {
		for seed := range uint64(3) {
			l := newLine(t, c.words, seed)
			all := run(t, l, n, time.Millisecond)
			got, sigma := float64(c.count(l.count)), math.Sqrt(n*c.p*(1-c.p))
			if math.Abs(got-n*c.p) > 3*sigma {
				t.Errorf("%s: %.0f of %d frames, want %.0f ± %.0f", c.words, got, n, n*c.p, 3*sigma)
			}
			k := l.count
			if k.Arrived != n || k.Passed != uint64(len(all)) || k.Arrived+k.Duplicated != k.Passed+k.Lost+k.QueueFull {
				t.Errorf("%s: the counters do not add up for %d arrivals: %+v", c.words, len(all), k)
			}
		}
	}
}

func TestTheSameSeedHasTheSameFate(t *testing.T) {
	const words = "delay=20ms jitter=5ms loss=10% reorder=5% duplicate=5% corrupt=5%"
	first := run(t, newLine(t, words, 7), 2000, time.Millisecond)
	if again := run(t, newLine(t, words, 7), 2000, time.Millisecond); !slices.Equal(first, again) {
		t.Error("the second time other frames arrived")
	}
	if other := run(t, newLine(t, words, 8), 2000, time.Millisecond); slices.Equal(first, other) {
		t.Error("another seed made no difference")
	}
}

func TestOneValueDoesNotChangeWhomAnotherHits(t *testing.T) {
	alone := numbers(run(t, newLine(t, "loss=10%", 7), 2000, time.Millisecond))
	more := numbers(run(t, newLine(t, "loss=10% delay=3ms jitter=1ms rate=10mbit", 7), 2000, time.Millisecond))
	if !slices.Equal(alone, more) {
		t.Error("with a delay, others are lost")
	}
	later := newLine(t, "delay=1ms", 7)
	run(t, later, 1000, time.Millisecond)
	change, _ := later.Merge("loss=10%")
	later.change(begin, change)
	rest := numbers(run(t, later, 1000, time.Millisecond))
	var want []int
	for _, n := range alone {
		if n >= 1000 {
			want = append(want, n-1000)
		}
	}
	if !slices.Equal(rest, want) {
		t.Error("a loss that begins later hits others")
	}
}

// What hosts send when their timers run out must not change which packets of a lesson are lost.
func TestWhatNobodyAskedForDoesNotChangeWhoIsLost(t *testing.T) {
	alone := numbers(run(t, newLine(t, "loss=20%", 7), 500, time.Millisecond))
	l := newLine(t, "loss=20%", 7)
	arp := append([]byte{2, 0, 0, 0, 2, 0, 2, 0, 0, 0, 1, 0, 8, 6}, make([]byte, 28)...)
	all := append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 1, 0, 8, 0}, make([]byte, 28)...)
	nd := append([]byte{2, 0, 0, 0, 2, 0, 2, 0, 0, 0, 1, 0, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255}, make([]byte, 56)...)
	nd[54] = 135
	for _, b := range [][]byte{arp, all, nd} {
		l.put(begin, &frame.Offload{}, b)
	}
	for p := l.pop(begin); p != nil; p = l.pop(begin) {
		l.done(p, true)
	}
	if got := numbers(run(t, l, 500, time.Millisecond)); !slices.Equal(got, alone) {
		t.Error("after ARP, a broadcast and a neighbour solicitation others are lost")
	}
}

func TestDelayIsTheSameForAllWithoutJitterAndInOrderWithIt(t *testing.T) {
	for i, a := range run(t, newLine(t, "delay=20ms", 1), 100, time.Millisecond) {
		if want := time.Duration(i)*time.Millisecond + 20*time.Millisecond; a.number != i || a.after != want {
			t.Fatalf("frame %d arrived as number %d after %v, want %v", a.number, i, a.after, want)
		}
	}
	const gap = 20 * time.Millisecond // no frame waits for the one before
	all := run(t, newLine(t, "delay=20ms jitter=5ms", 1), 2000, gap)
	var delays []time.Duration
	for i, a := range all {
		d := a.after - time.Duration(i)*gap
		if a.number != i || d < 15*time.Millisecond || d > 25*time.Millisecond {
			t.Fatalf("frame %d arrived as number %d after %v", a.number, i, d)
		}
		delays = append(delays, d)
	}
	slices.Sort(delays)
	if median := delays[len(delays)/2]; (median - 20*time.Millisecond).Abs() > 300*time.Microsecond {
		t.Errorf("the median is %v", median)
	}
	dense := numbers(run(t, newLine(t, "delay=20ms jitter=20ms", 1), 500, time.Millisecond))
	if len(dense) != 500 || !slices.IsSorted(dense) {
		t.Error("jitter changed the order")
	}
}

func TestReorderedFramesAreOvertakenByTheNextOne(t *testing.T) {
	l := newLine(t, "delay=5ms reorder=10%", 1)
	all := numbers(run(t, l, 1000, time.Millisecond))
	overtaken := 0
	for i := range all[1:] {
		if all[i] > all[i+1] {
			overtaken++
		}
	}
	if len(all) != 1000 || overtaken == 0 || l.count.Reordered < uint64(overtaken) {
		t.Errorf("%d of 1000 frames arrived, %d out of order, %d counted", len(all), overtaken, l.count.Reordered)
	}
	alone := newLine(t, "reorder=100%", 1)
	got := run(t, alone, 1, 0)
	if len(got) != 1 || got[0].after != holdFor || alone.count.Reordered != 0 {
		t.Errorf("a frame that nothing follows: %+v, %+v", got, alone.count)
	}
}

func TestDuplicatesFollowAndCorruptFramesHaveAWrongChecksum(t *testing.T) {
	if got := numbers(run(t, newLine(t, "duplicate=100%", 1), 3, time.Millisecond)); !slices.Equal(got, []int{0, 0, 1, 1, 2, 2}) {
		t.Errorf("arrived: %v", got)
	}
	for _, a := range run(t, newLine(t, "corrupt=100%", 1), 200, time.Millisecond) {
		if !a.broken() {
			t.Fatal("all checksums are right")
		}
	}
	for _, a := range run(t, newLine(t, "delay=1ms loss=1%", 1), 200, time.Millisecond) {
		if a.broken() {
			t.Fatal("a checksum is wrong")
		}
	}
}

func TestARateSpreadsFramesAndItsQueueIsBounded(t *testing.T) {
	l := newLine(t, "rate=1mbit", 1)
	all := run(t, l, 1000, time.Millisecond) // 400 kbit/s: each has left before the next comes
	each := l.onTheLine(len(numbered(t, 0)))
	for i, a := range all {
		if want := time.Duration(i)*time.Millisecond + each; a.after != want {
			t.Fatalf("frame %d arrived after %v, want %v", i, a.after, want)
		}
	}
	if len(all) != 1000 {
		t.Errorf("%d of 1000 frames arrived", len(all))
	}
	burst := newLine(t, "rate=10mbit", 1)
	all = run(t, burst, 5000, 0)
	each = burst.onTheLine(len(numbered(t, 0)))
	room := int(queueFor/each) + 2
	if len(all) < room-2 || len(all) > room || burst.count.QueueFull != uint64(5000-len(all)) {
		t.Errorf("%d frames of a burst arrived, %d counted as too many; the queue has room for %d", len(all), burst.count.QueueFull, room)
	}
	if got, want := all[len(all)-1].after, time.Duration(len(all))*each; (got - want).Abs() > time.Microsecond {
		t.Errorf("the last one arrived after %v, want %v", got, want)
	}
}

func TestWhatIsUnderWayHasBoundedMemory(t *testing.T) {
	l := newLine(t, "delay=1m", 1)
	big := make([]byte, 60000)
	for range 2 * maxUnderWay / len(big) {
		l.put(begin, &frame.Offload{}, big)
	}
	if l.bytes > maxUnderWay || l.count.QueueFull == 0 {
		t.Errorf("%d bytes are under way, %+v", l.bytes, l.count)
	}
}

func TestANewDelayLetsArriveWhatIsUnderWay(t *testing.T) {
	l := newLine(t, "delay=1m reorder=50%", 1)
	for i := range 100 {
		l.put(begin, &frame.Offload{}, numbered(t, i))
	}
	now := begin.Add(time.Second)
	same, _ := l.Merge("loss=5%")
	l.change(now, same)
	if l.pop(now) != nil {
		t.Error("another loss made frames arrive")
	}
	none, _ := l.Merge("delay=0")
	l.change(now, none)
	n := 0
	for p := l.pop(now); p != nil; p = l.pop(now) {
		l.done(p, true)
		n++
	}
	if n != 100 || l.bytes != 0 {
		t.Errorf("%d of 100 frames arrived, %d bytes are left", n, l.bytes)
	}
}

func TestFramesUnderWayDoNotAllocateInTheLongRun(t *testing.T) {
	l := newLine(t, "delay=1ms loss=1%", 1)
	now, b := begin, numbered(t, 1)
	turn := func() {
		l.put(now, &frame.Offload{}, b)
		now = now.Add(100 * time.Microsecond)
		for p := l.pop(now); p != nil; p = l.pop(now) {
			l.done(p, true)
		}
	}
	for range 1000 {
		turn()
	}
	if got := testing.AllocsPerRun(1000, turn); got > 1 {
		t.Errorf("%v allocations a frame", got)
	}
}

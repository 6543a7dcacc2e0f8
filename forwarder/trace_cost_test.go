package forwarder

import (
	"testing"

	"uvs/forwarder/config"
	"uvs/forwarder/tracefilter"
	"uvs/sched"
)

// BenchmarkTraceFilter measures BenchmarkPath's way by NAT while nobody records, and while
// somebody does whose filter matches nothing.
func BenchmarkTraceFilter(b *testing.B) {
	for _, name := range []string{"off", "on"} {
		b.Run(name, func(b *testing.B) {
			c := newCourse(b, 4, sched.Masq, "rr", 8192)
			if name == "on" {
				_, stop := c.fw.StartTrace(Wanted{Filter: noMatch(b)})
				defer stop()
			}
			const flows = 1000
			c.w.batch(c.load(0, flows))
			measured(b, func() {
				for i := 0; i < b.N; i += batchSize {
					c.w.batch(c.load(i, flows))
				}
			})
		})
	}
}

func noMatch(t testing.TB) *tracefilter.Filter {
	t.Helper()
	f, err := tracefilter.Parse("host 192.0.2.1 and tcp port 443")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestAFilterThatMatchesNothingDoesNotAllocate(t *testing.T) {
	c := newCourse(t, 4, sched.Masq, "rr", 8192)
	records, stop := c.fw.StartTrace(Wanted{Filter: noMatch(t)})
	defer stop()
	const flows = batchSize
	c.w.batch(c.load(0, flows))
	if n := testing.AllocsPerRun(100, func() { c.w.batch(c.load(0, flows)) }); n != 0 {
		t.Errorf("%v allocations in a batch", n)
	}
	if len(records) != 0 {
		t.Errorf("%d records", len(records))
	}
}

// A reader that does not read misses the oldest records, and is told how many.
func TestASlowReaderIsToldHowManyRecordsItMissed(t *testing.T) {
	c := newCourse(t, 4, sched.Masq, "rr", 8192)
	records, stop := c.fw.StartTrace(Wanted{})
	defer stop()
	const batches = traceBacklog/batchSize + 3
	for i := range batches {
		c.w.batch(c.load(i*batchSize, 4096))
	}
	var numbers []uint64
	missed := uint64(0)
	for len(records) > 0 {
		r := <-records
		numbers, missed = append(numbers, r.Number), missed+r.Missed
	}
	if len(numbers) != traceBacklog || numbers[len(numbers)-1] != batches*batchSize {
		t.Errorf("%d records, the last is %d", len(numbers), numbers[len(numbers)-1])
	}
	if missed != batches*batchSize-traceBacklog {
		t.Errorf("%d were missed, want %d", missed, batches*batchSize-traceBacklog)
	}
}

// TestNoMoreThan16MBOfFramesWaitForASlowReader puts merged frames that leave in two pieces.
func TestNoMoreThan16MBOfFramesWaitForASlowReader(t *testing.T) {
	big := make([]byte, 65_000)
	to := &reader{Wanted: Wanted{Frames: true}, records: make(chan config.Trace, traceBacklog)}
	put := func(n int, frame []byte) {
		for range n {
			to.put(config.Trace{Frame: frame, Sent: []config.SentFrame{{Frame: frame[:len(frame)/2]}, {Frame: frame[len(frame)/2:]}}})
		}
	}
	const fit = traceBytes / (2 * 65_000)
	taken, missed := 0, 0
	take := func(n int) {
		for range n {
			taken, missed = taken+1, missed+int((<-to.records).Missed)
		}
	}
	put(1000, big)
	if len(to.records) != fit {
		t.Errorf("%d records wait, want %d", len(to.records), fit)
	}
	take(100)
	put(100, big)
	if len(to.records) != fit {
		t.Errorf("%d records wait after some were taken, want %d", len(to.records), fit)
	}
	put(2000, big[:60])
	if len(to.records) != traceBacklog {
		t.Errorf("%d short records wait, want %d", len(to.records), traceBacklog)
	}
	put(1, make([]byte, traceBytes))
	if len(to.records) != 1 {
		t.Errorf("%d records wait beside one that is too long by itself", len(to.records))
	}
	if take(1); taken+missed != 3101 {
		t.Errorf("%d taken and %d missed of 3101", taken, missed)
	}
}
